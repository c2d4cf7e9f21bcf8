"""Seconds from a part's return to the next accepted submission, and to its result.

    python -m benchmarks.recovery --times 10

Each kind of outage happens on the embedded stack, while clients submit. Redis is a primary with a
replica behind a proxy, and the images have a Redis of their own. The time begins when the part is
back: it answers, runs again, or can be reached; for `redis demoted`, when the other server is the
primary. The table has the median and the worst of all times.
"""

import argparse
import asyncio
import os
import random
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import httpx

from benchmarks.common import IMAGE
from sluice.local.config import ALL_PARTS
from sluice.local.stack import Stack, StackConfig
from tests.chaos.proxy import Proxy
from tests.support.failover import Server

_CLIENTS = 4
_EVERY_S = 0.25
_AWAY_S = 5.0
_GIVE_UP_S = 120.0
_CALM_S = 3.0

Outage = Callable[[], Awaitable[None]]


class Recovery:
    """One stack, and its outages. Each method is one kind and returns when the part is back."""

    def __init__(self, folder: Path) -> None:
        self._servers = [Server(folder / "redis-1"), Server(folder / "redis-2")]
        self._blobs = Server(folder / "blobs")
        self._primary = 0
        self._proxy = Proxy("redis", lambda: ("127.0.0.1", self._servers[self._primary].port))
        self._state = folder / "state"
        self._stack: Stack

    async def start(self) -> str:
        """Start everything; returns the api's URL."""
        for server in (*self._servers, self._blobs):
            await asyncio.to_thread(server.start)
        with self._servers[1].client() as replica:
            replica.replicaof("127.0.0.1", str(self._servers[0].port))
        port = await self._proxy.start()
        env = {
            "SLUICE_REDIS_URL": f"redis://127.0.0.1:{port}/0",
            "SLUICE_BLOBS_URL": f"redis://127.0.0.1:{self._blobs.port}/0",
        }
        config = StackConfig(
            state=self._state, port=0, workers=2, env=env, parts=ALL_PARTS - {"redis"}
        )
        self._stack = Stack(config)
        await asyncio.to_thread(self._stack.start)
        return self._stack.addresses.api

    async def stop(self) -> None:
        await asyncio.to_thread(self._stack.stop)
        await self._proxy.stop()
        for server in (*self._servers, self._blobs):
            server.kill()

    def kinds(self) -> dict[str, Outage]:
        """The outages by name."""
        return {
            "redis killed": lambda: self._killed(self._servers[self._primary]),
            "redis stopped": lambda: self._stopped(self._servers[self._primary].pid),
            "redis demoted": self._demoted,
            "redis partitioned": self._partitioned,
            "triton killed": self._triton_killed,
            "triton stopped": lambda: self._stopped(self._stack.pids["triton"]),
            "blob store killed": lambda: self._killed(self._blobs),
        }

    async def _killed(self, server: Server) -> None:
        server.kill()
        await asyncio.sleep(_AWAY_S)
        await asyncio.to_thread(server.start)

    async def _stopped(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(_AWAY_S)
        finally:
            os.kill(pid, signal.SIGCONT)

    async def _demoted(self) -> None:
        """The name leads to the replica, which is the primary from then on."""
        old, new = self._servers[self._primary], self._servers[1 - self._primary]
        self._primary = 1 - self._primary
        with new.client() as promoted, old.client() as demoted:
            promoted.replicaof("NO", "ONE")
            demoted.replicaof("127.0.0.1", str(new.port))

    async def _partitioned(self) -> None:
        self._proxy.hole(random.Random(1), 1.0)
        await asyncio.sleep(_AWAY_S)
        self._proxy.heal_hole()

    async def _triton_killed(self) -> None:
        """The supervisor starts it again; it is back when it has loaded the model."""
        os.kill(self._stack.pids["triton"], signal.SIGKILL)
        url = f"{self._stack.addresses.triton_http}/v2/models/codes/ready"
        await asyncio.sleep(1)
        async with httpx.AsyncClient(timeout=2) as http:
            while True:
                try:
                    if (await http.get(url)).is_success:
                        return
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(0.02)


async def _submit(http: httpx.AsyncClient, **options: str) -> str | None:
    headers = {"Content-Type": "image/jpeg"}
    try:
        answer = await http.post("/v1/predictions", params=options, content=IMAGE, headers=headers)
    except httpx.HTTPError:
        return None
    return str(answer.json()["id"]) if answer.status_code == 202 else None


async def _succeeds(http: httpx.AsyncClient, name: str) -> bool:
    try:
        answer = await http.get(f"/v1/predictions/{name}")
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and answer.json()["status"] == "succeeded"


async def _measure(http: httpx.AsyncClient) -> tuple[float, float]:
    """Seconds from now to the next 202, and to the success of any submission from now on."""
    start = time.monotonic()
    names: list[str] = []
    accepted_s = _GIVE_UP_S
    while time.monotonic() - start < _GIVE_UP_S:
        if name := await _submit(http, priority="high"):  # before the backlog
            accepted_s = min(accepted_s, time.monotonic() - start)
            names.append(name)
        for known in names[:5]:
            if await _succeeds(http, known):
                return accepted_s, time.monotonic() - start
        await asyncio.sleep(0.05)
    return accepted_s, _GIVE_UP_S


async def _load(http: httpx.AsyncClient) -> None:
    while True:
        await _submit(http)
        await asyncio.sleep(_EVERY_S)


async def _run(times: int, wanted: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="sluice-recovery-") as folder:
        recovery = Recovery(Path(folder))
        api = await recovery.start()
        try:
            async with httpx.AsyncClient(base_url=api, timeout=10) as http:
                clients = [asyncio.create_task(_load(http)) for _ in range(_CLIENTS)]
                print(f"{'outage':<20} {'accepted after':>22} {'a result after':>22}")
                print(f"{'':<20} {'median':>11}{'worst':>11} {'median':>11}{'worst':>11}")
                for kind, outage in recovery.kinds().items():
                    if wanted and kind not in wanted:
                        continue
                    pairs = []
                    for _ in range(times):
                        await asyncio.sleep(_CALM_S)
                        await outage()
                        pairs.append(await _measure(http))
                    print(f"{kind:<20} {_figures(pairs, 0)} {_figures(pairs, 1)}", flush=True)
                for client in clients:
                    client.cancel()
                await asyncio.gather(*clients, return_exceptions=True)
        finally:
            await recovery.stop()


def _figures(pairs: list[tuple[float, float]], index: int) -> str:
    seconds = [pair[index] for pair in pairs]
    return f"{median(seconds):9.2f} s{max(seconds):9.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery", description=__doc__)
    parser.add_argument("--times", type=int, default=10, help="outages of each kind (10)")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="such as 'redis killed'; all")
    arguments = parser.parse_args()
    asyncio.run(_run(arguments.times, arguments.kinds))


if __name__ == "__main__":
    main()
