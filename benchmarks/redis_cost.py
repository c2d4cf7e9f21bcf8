"""The cost of a prediction in Redis, with a model that costs nothing: commands, time, memory.

The whole way is real: the api accepts, a worker claims and records the end, and the client gets the
result by `Prefer: wait`. Only the pipeline does nothing. The baseline in the same run is the least
that a queue of images does: SET, LPUSH, BRPOP, GET and UNLINK, each a round trip of its own.
"""

import http.client
import io
import os
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import redis
from PIL import Image
from pydantic import SecretStr

from benchmarks.common import IMAGE, client, process, stack
from benchmarks.price import CONCURRENCY, NoWork
from benchmarks.speed.load import Job, send
from benchmarks.speed.processes import cpu_s
from sluice.blobs.store import Blobs, input_key
from sluice.local.paths import SAMPLES
from sluice.prediction import Prediction
from sluice.settings import QueueSettings, RedisSettings, Settings
from sluice.stores import Stores
from worker import tasks
from worker.celery_worker import CeleryWorker
from worker.runner import Runner
from worker.stages import Stages
from worker.watchdog import LeaseWatchdog

COUNT = int(os.environ.get("REDIS_COST_COUNT", "1000"))
CLIENTS = (1, 16)
IDLE_S = 5
QUEUED = 1000
_HEAD = {"Content-Type": "image/jpeg"}
_FILE = SAMPLES / "desk.jpg"


class Reading(NamedTuple):
    """Redis's counters at one moment."""

    cpu_s: float
    reads: int
    """How often Redis read from a client: its round trips, where requests are small."""
    calls: dict[str, int]
    seconds: dict[str, float]
    """By command. A script's own commands count here too, beside its EVALSHA."""

    def since(self, before: "Reading") -> "Reading":
        """The counts from `before` to this moment."""
        calls = {name: n - before.calls.get(name, 0) for name, n in self.calls.items()}
        seconds = {name: s - before.seconds.get(name, 0.0) for name, s in self.seconds.items()}
        return Reading(self.cpu_s - before.cpu_s, self.reads - before.reads, calls, seconds)


def main() -> None:
    with stack("redis", "triton", "api") as running, client(running) as store:
        pids = {name: running.pids[name] for name in ("redis", "api")}
        _idle(store)
        _memory(running, store)
        environment = {"COST_REDIS": running.addresses.redis}
        with process("-m", "benchmarks.redis_cost", "worker", environment=environment) as worker:
            port = urlsplit(running.addresses.api).port or 0
            _submit(port, 2, 50)
            for clients in CLIENTS:
                _measure(store, port, clients, {**pids, "worker": worker})
        _baseline(store)


def _read(store: "redis.Redis") -> Reading:
    info: Any = store.info("everything")
    commands = {k.removeprefix("cmdstat_"): v for k, v in info.items() if k.startswith("cmdstat_")}
    calls = {name: value["calls"] for name, value in commands.items()}
    seconds = {name: value["usec"] / 1e6 for name, value in commands.items()}
    cpu = info["used_cpu_user"] + info["used_cpu_sys"]
    return Reading(cpu, info["total_reads_processed"], calls, seconds)


def _measure(store: "redis.Redis", port: int, clients: int, pids: dict[str, int]) -> None:
    before, used = _read(store), {name: cpu_s([pid]) for name, pid in pids.items()}
    sent = _submit(port, clients, COUNT)
    cost = _read(store).since(before)
    spent = {name: (cpu_s([pid]) - used[name]) / COUNT * 1000 for name, pid in pids.items()}
    spent |= {"redis": cost.cpu_s / COUNT * 1000, "clients": sent["cpu_s"] / COUNT * 1000}
    print(f"\n{clients} clients: {COUNT / sent['seconds']:.0f} predictions a second")
    print("  processor, ms a prediction: " + ", ".join(f"{k} {v:.2f}" for k, v in spent.items()))
    _show(cost, COUNT)


def _show(cost: Reading, count: int) -> None:
    scripts, in_scripts = cost.calls.get("evalsha", 0), cost.seconds.get("evalsha", 0.0)
    total = sum(cost.calls.values())
    print(
        f"  a prediction: {total / count:.1f} commands, {cost.reads / count:.1f} reads by Redis,"
        f" {scripts / count:.2f} scripts of {in_scripts / max(1, scripts) * 1e6:.0f} µs,"
        f" {cost.cpu_s / count * 1e6:.0f} µs of processor"
    )
    rows = sorted(cost.calls, key=lambda name: -cost.seconds[name])
    print(
        "  by command, calls and µs a prediction: "
        + ", ".join(
            f"{name} {cost.calls[name] / count:.1f}/{cost.seconds[name] / count * 1e6:.0f}"
            for name in rows
            if cost.calls[name] >= count / 20
        ),
        flush=True,
    )


def _submit(port: int, clients: int, count: int) -> dict[str, Any]:
    """Send the image `count` times, and wait for each result; see `benchmarks.speed.load`."""
    headers = {**_HEAD, "Prefer": "wait=30"}
    return send(Job(port, "/v1/predictions", str(_FILE), clients, count, headers))


def _idle(store: "redis.Redis") -> None:
    time.sleep(1)
    before = _read(store)
    time.sleep(IDLE_S)
    cost = _read(store).since(before)
    calls = {name: n / IDLE_S for name, n in cost.calls.items() if n > 0 and name != "info"}
    named = ", ".join(f"{name} {n:.1f}" for name, n in sorted(calls.items(), key=lambda x: -x[1]))
    print(
        f"an idle api: {sum(calls.values()):.1f} commands a second ({named}),"
        f" {cost.cpu_s / IDLE_S:.2%} of a core in Redis"
    )


def _memory(running: Any, store: "redis.Redis") -> None:
    """A queued prediction beyond its image: no worker runs yet. The image is small, 64 x 48."""
    port = urlsplit(running.addresses.api).port or 0
    data = io.BytesIO()
    Image.new("RGB", (64, 48)).save(data, "JPEG")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def submit(count: int) -> int:
        """Submit, and return the memory of Redis without its buffers."""
        for _ in range(count):
            connection.request("POST", "/v1/predictions", data.getvalue(), _HEAD)
            connection.getresponse().read()
        info: Any = store.info("memory")
        used: int = info["used_memory"]
        return used - int(info["mem_clients_normal"]) - int(info["mem_aof_buffer"])

    before = submit(1)
    used = (submit(QUEUED) - before) / QUEUED - len(data.getvalue())
    print(f"a queued prediction: {used:.0f} bytes beyond its image")


def _baseline(store: "redis.Redis") -> None:
    before = _read(store)
    for number in range(COUNT):
        store.set(f"base:{number}", IMAGE, ex=3600)
        store.lpush("base", number)
        store.brpop(["base"])
        store.get(f"base:{number}")
        store.unlink(f"base:{number}")
    print("\nbaseline: SET, LPUSH, BRPOP, GET, UNLINK")
    _show(_read(store).since(before), COUNT)


def _serve() -> None:
    """Run a worker whose pipeline does nothing."""
    settings_of_redis = RedisSettings(url=SecretStr(os.environ["COST_REDIS"]))
    stores = Stores.open(Settings(redis=settings_of_redis), timeout_s=10)
    watchdog = LeaseWatchdog(stores.ledger, lease_s=30)
    watchdog.start()
    settings = QueueSettings()
    pipeline: Any = _Fetching(stores.blobs)
    runner = Runner(stores.ledger, stores.blobs, pipeline, watchdog, settings, worker="cost")
    tasks.register(stores.celery, runner)
    # The watchdog writes to the real stderr, and ends without it.
    stores.celery.conf.worker_redirect_stdouts = False
    CeleryWorker(stores.celery, threads=CONCURRENCY).start()


class _Fetching(NoWork):
    """Reads the image, as every pipeline does, and does nothing with it."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def run(self, prediction: Prediction, stages: Stages) -> dict[str, Any]:
        self._blobs.get(input_key(prediction.id, prediction.digest))
        return super().run(prediction, stages)


if __name__ == "__main__":
    _serve()
