"""One run: a stack behind proxies, the reference results, the chaos, the calm, and the audit."""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import redis.asyncio

from sluice.local.stack import Stack, StackConfig
from sluice.local.supervision.process import Spec
from sluice.local.supervision.supervisor import Kind, SupervisorEvent
from tests.chaos import clients, faults
from tests.chaos.cases import Case, cases
from tests.chaos.clients import Caller, Crowd
from tests.chaos.log import Log
from tests.chaos.proxy import Proxy
from tests.support.bad_receiver import BadReceiver, Message

QUEUE = "default"
# The clients submit for so long after the last fault.
TAIL_S = 10.0
# The pause between the two last looks at every prediction.
QUIET_S = 5.0
# Slow defaults are quick here, so that a minute holds many recoveries. Nothing else is changed.
QUICK = {
    "SLUICE_QUEUE_NAME": QUEUE,
    "SLUICE_QUEUE_LEASE_S": "3",
    "SLUICE_QUEUE_GONE_AFTER_S": "1.5",
    "SLUICE_QUEUE_SWEEP_INTERVAL_S": "0.5",
    "SLUICE_QUEUE_RETENTION_S": "7200",
    "SLUICE_QUEUE_TOMBSTONE_S": "3600",
    # The harness kills workers at random, so a prediction that runs alone is not to blame.
    "SLUICE_QUEUE_MAX_LONE_LAPSES": "1000",
    "SLUICE_BLOBS_TTL_S": "3600",
    "SLUICE_BLOBS_ORPHAN_TTL_S": "60",
    "SLUICE_BLOBS_RESULT_TTL_S": "7200",
    "SLUICE_TRITON_TIMEOUT_S": "3",
    "SLUICE_REDIS_WORKER_TIMEOUT_S": "3",
    "SLUICE_WORKER_STUCK_AFTER_S": "10",
    "SLUICE_WORKER_MAX_RUN_S": "20",
    "SLUICE_NETGUARD_ALLOW": "127.0.0.1/32",
    "SLUICE_WEBHOOKS_SCHEDULE_S": "0.2,0.5,1,2,2,3,3,5,5,5,5,5",
    "SLUICE_WEBHOOKS_TIMEOUT_S": "1.5",
    "SLUICE_WEBHOOKS_LEASE_S": "4",
    "SLUICE_WEBHOOKS_FIRST_PAUSE_S": "0.2",
    "SLUICE_WEBHOOKS_LONGEST_PAUSE_S": "1",
    "SLUICE_WEBHOOKS_SWEEP_INTERVAL_S": "0.5",
}
# A delivery may wait so long for its first attempt, and its prediction's record with it.
_UNSEEN_S = 3 * 24 * 3600
LONGEST_S = {
    **{
        "prediction": 7200,
        "gone": _UNSEEN_S + 3600,
        "input": 3600,
        "orphan": 60,
        "annotated": 7200,
    },
    **dict.fromkeys(("delivery", "delivery-log", "receiver"), _UNSEEN_S),
}


@dataclass(frozen=True)
class Options:
    """The options of one run."""

    workdir: Path
    seconds: float
    """The time during which faults happen."""
    seed: int
    rate: float = 6.0
    """Submissions a second."""
    every_s: float = 4.0
    """The average time from fault to fault."""
    bound_s: float = 60.0
    """Every accepted prediction must be terminal so long after the last fault."""
    recovery_s: float = 20.0
    """Every request must be answered from so long after the last fault."""
    workers: int = 2
    concurrency: int = 2
    only: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)


class Harness:
    """One run; `say` is given lines for people.

    The clients' log is `workdir/log.jsonl`, and the stack's own logs are in `workdir/state`.
    """

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        self._options = options
        self._say = say
        self._log = Log(options.workdir / "log.jsonl")
        self._state = options.workdir / "state"
        self._stack: Stack
        self._loop: asyncio.AbstractEventLoop
        #: The start of the chaos (monotonic).
        self._start = 0.0
        self._proxies = {
            "front": Proxy("front", lambda: self._at("api")),
            "api-redis": Proxy("api-redis", lambda: self._at("redis")),
            "api-triton": Proxy("api-triton", lambda: self._at("triton_http")),
            "worker-redis": Proxy("worker-redis", lambda: self._at("redis")),
            "worker-triton": Proxy("worker-triton", lambda: self._at("triton_grpc")),
        }

    async def run(self) -> Path:
        """Do the whole run; returns the log's path. Raises LocalStackError."""
        options = self._options
        self._loop = asyncio.get_running_loop()
        bounds = {"bound_s": options.bound_s, "recovery_s": options.recovery_s}
        self._log.write(
            "start", seed=options.seed, seconds=options.seconds, webhooks=True, **bounds
        )
        links = {name: await proxy.start() for name, proxy in self._proxies.items()}
        self._stack = Stack(self._config(), self._hear, partial(_through, links))
        try:
            await asyncio.to_thread(self._stack.start)
            limits = httpx.Limits(max_connections=1000, max_keepalive_connections=20)
            url = f"http://127.0.0.1:{links['front']}"
            async with httpx.AsyncClient(base_url=url, limits=limits, trust_env=False) as http:
                secret = (await http.get("/v1/webhooks/default/secret")).json()["key"]
                with BadReceiver(secret, "http://127.0.0.1:1/", options.seed) as receiver:
                    await self._drive(Caller(http, self._log, cases(), receiver.url))
                    await self._until_told()
                    for message in receiver.messages:
                        self._log.write("told", **_told(message))
                await self._audit()
            pids = self._stack.pids
            wanted = {
                "redis",
                "triton",
                "api",
                "webhooks",
                *(f"worker-{number}" for number in range(1, options.workers + 1)),
            }
            self._log.write("end", down=sorted(wanted - set(pids)))
        finally:
            await asyncio.to_thread(self._stack.stop)
            for proxy in self._proxies.values():
                await proxy.stop()
            self._log.close()
        return self._log.path

    def _config(self) -> StackConfig:
        options = self._options
        return StackConfig(
            state=self._state,
            port=0,
            workers=options.workers,
            concurrency=options.concurrency,
            env={**QUICK, **options.env},
        )

    def _at(self, part: str) -> tuple[str, int]:
        """The address at which a part of the stack listens."""
        address = getattr(self._stack.addresses, part)
        url = urlsplit(address if "//" in address else f"//{address}")
        return str(url.hostname), int(url.port or 0)

    async def _drive(self, caller: Caller) -> None:
        """Do the references, the chaos, the calm, and the last looks."""
        options = self._options
        crowd = Crowd(caller, options.seed)
        self._say("reference: each image with its parameters, without faults")
        for case in cases():
            await self._reference(caller, crowd, case)
        if unused := [name for name, proxy in self._proxies.items() if not proxy.accepted]:
            raise RuntimeError(f"no connection went through {', '.join(unused)}")
        plans = clients.draw(options.seed, options.seconds + TAIL_S, options.rate, cases())
        schedule = faults.draw(options.seed, options.seconds, options.every_s, options.only)
        self._say(
            f"chaos: {len(plans)} predictions, {len(schedule)} faults in {options.seconds:.0f} s;"
            f" the seed is {options.seed}"
        )
        for fault in schedule:
            self._say(f"  drawn {fault}")
        damage = faults.Damage(self._state, self._proxies, options.seed, self._note)
        start = self._start = time.monotonic()
        living = asyncio.create_task(crowd.run(plans, start))
        await damage.run(schedule, start)
        await asyncio.sleep(max(0.0, start + options.seconds - time.monotonic()))
        self._log.write("calm")
        crowd.until = time.monotonic() + options.bound_s
        self._say(
            f"{options.seconds:8.1f}  calm: all predictions must end within {options.bound_s:.0f} s"
        )
        await living
        self._say(
            f"{time.monotonic() - start:8.1f}  the clients are done;"
            f" {crowd.skipped} plans were skipped, as too many predictions were open"
        )
        if await self._look_at_all(caller):
            await asyncio.sleep(QUIET_S)
            await self._look_at_all(caller)

    async def _reference(self, caller: Caller, crowd: Crowd, case: Case) -> None:
        """Log a case's result without faults. Raises RuntimeError where its end is wrong."""
        prediction_id = f"reference-{case.name}"
        accepted = await caller.submit(prediction_id, case.name)
        if accepted is None or accepted.status != 202:
            raise RuntimeError(f"{case.name} was answered {accepted}")
        crowd.until = time.monotonic() + self._options.bound_s
        ended = await crowd.follow(prediction_id)
        crowd.until = float("inf")
        if ended is None or (ended["status"], ended["error_code"]) != (case.ends, case.code):
            raise RuntimeError(f"{case.name} ended as {ended}")
        image = await caller.image(prediction_id) if case.visualize else None
        self._log.write(
            "case",
            case=case.name,
            ends=case.ends,
            code=case.code,
            output=ended["output"],
            sha=image.sha if image else None,
        )

    async def _look_at_all(self, caller: Caller) -> bool:
        """Ask for every prediction once more, and for the annotated images of those that succeeded.

        False when that took longer than `bound_s`; the log then has the number of predictions left.
        Without the bound, a service that answers nothing would cost PATIENCE_S for each of them.
        """
        gate = asyncio.Semaphore(10)
        drawn = {case.name for case in cases() if case.visualize}
        unseen = set(caller.accepted)

        async def look(prediction_id: str, case: str) -> None:
            async with gate:
                answer = await caller.get(prediction_id)
                if case in drawn and answer and answer.body.get("status") == "succeeded":
                    await caller.image(prediction_id)
                unseen.discard(prediction_id)

        looks = [asyncio.create_task(look(*accepted)) for accepted in caller.accepted.items()]
        if looks:
            _, late = await asyncio.wait(looks, timeout=self._options.bound_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*looks, return_exceptions=bool(late))
        if unseen:
            self._log.write("unseen", count=len(unseen), within_s=self._options.bound_s)
            self._say(f"{len(unseen)} predictions could not be looked at in time")
        return not unseen

    async def _until_told(self) -> None:
        """Wait until no delivery is open, or for `bound_s`."""
        async with redis.asyncio.Redis.from_url(
            self._stack.addresses.redis, socket_timeout=10
        ) as client:
            until = time.monotonic() + self._options.bound_s
            while time.monotonic() < until and await client.exists(f"{{{QUEUE}}}:deliveries-open"):
                await asyncio.sleep(0.2)

    async def _audit(self) -> None:
        """Log every key in Redis with its time to live."""
        client = redis.asyncio.Redis.from_url(self._stack.addresses.redis, socket_timeout=10)
        keys = []
        async with client:
            async for name in client.scan_iter(count=1000):
                async with client.pipeline(transaction=False) as pipe:
                    kind = (await client.type(name)).decode()
                    if kind == "none":  # the key has just expired
                        continue
                    size = {
                        "string": "strlen",
                        "list": "llen",
                        "hash": "hlen",
                        "zset": "zcard",
                        "set": "scard",
                    }[kind]
                    getattr(pipe.ttl(name), size)(name)
                    ttl_s, count = await pipe.execute()
                key = {"name": name.decode(), "type": kind, "ttl_s": ttl_s, "size": count}
                if kind == "hash":
                    fields = [
                        (field or b"").decode()
                        for field in await client.hmget(name, ["status", "attempts"])
                    ]
                    key |= {"status": fields[0], "attempts": int(fields[1] or 0)}
                keys.append(key)
        self._log.write("audit", queue=QUEUE, longest_s=LONGEST_S, keys=keys)

    def _note(self, text: str) -> None:
        self._log.write("fault", text=text)
        self._say(f"{time.monotonic() - self._start:8.1f}  {text}")

    def _hear(self, event: SupervisorEvent) -> None:
        """Called from the stack's threads."""
        if event.kind is Kind.DIED:
            self._loop.call_soon_threadsafe(self._restarted, event)

    def _restarted(self, event: SupervisorEvent) -> None:
        self._log.write("restart", name=event.name)
        self._say(f"          {event.text.splitlines()[0].split(';')[0]}, and is started again")


def _told(message: Message) -> dict[str, Any]:
    payload = json.loads(message.body)
    about = {
        "type": payload["type"],
        "id": payload["data"]["id"],
        "status": payload["data"]["status"],
    }
    received = {"message": message.id, "genuine": message.genuine, "taken": message.taken}
    return {**about, **received, "sha": hashlib.sha256(message.body).hexdigest()}


def _through(links: Mapping[str, int], spec: Spec) -> Spec:
    """Lead a process's connections through the proxies; the api and the workers have their own."""
    if spec.name in ("redis", "triton"):
        return spec
    redis_link = links["api-redis" if spec.name == "api" else "worker-redis"]
    redis_url = f"redis://127.0.0.1:{redis_link}/0"
    env = {
        "SLUICE_REDIS_URL": redis_url,
        "SLUICE_BLOBS_URL": redis_url,
        "SLUICE_TRITON_HTTP_URL": f"http://127.0.0.1:{links['api-triton']}",
        # A proxy on loopback, so that the tensors still go through shared memory.
        "SLUICE_TRITON_GRPC_URL": f"127.0.0.1:{links['worker-triton']}",
    }
    return replace(spec, env={**spec.env, **env})
