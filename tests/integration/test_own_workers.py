"""Workers with a queue of their own beside the live stack's: they are stopped and cut off."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import redis
from pydantic import SecretStr

from sluice.prediction import Prediction, Status, Submission
from sluice.settings import QueueSettings, RedisSettings, Settings
from sluice.stores import Stores
from tests.chaos.proxy import Proxy
from tests.support.live import Live
from tests.support.paths import ROOT

pytestmark = pytest.mark.integration

IMAGE = cv2.imencode(".jpg", np.random.default_rng(3).integers(0, 256, (240, 320, 3), np.uint8))[
    1
].tobytes()


class Bench:
    """A queue, and workers that serve it."""

    def __init__(self, live: Live, name: str, directory: Path) -> None:
        settings = Settings(
            redis=RedisSettings(url=SecretStr(live.redis)), queue=QueueSettings(name=name)
        )
        stores = Stores.open(settings, timeout_s=10)
        self.ledger, self._intake = stores.ledger, stores.intake
        self._directory = directory
        self._environment = {
            **os.environ,
            "SLUICE_REDIS_URL": live.redis,
            "SLUICE_TRITON_GRPC_URL": live.triton_grpc,
            "SLUICE_TRITON_HTTP_URL": live.triton_http,
            "SLUICE_TRITON_TIMEOUT_S": "60",
            "SLUICE_QUEUE_NAME": name,
            # Longer than the test, so that no lapse repairs what a stop has broken.
            "SLUICE_QUEUE_LEASE_S": "120",
        }
        self._started = 0

    def submit(self) -> str:
        return self._intake.accept_new(IMAGE, Submission(model="codes")).id

    @contextmanager
    def workers(self, count: int = 1, **settings: str) -> Iterator[list["subprocess.Popen[bytes]"]]:
        """Workers that are ready; the end of the context kills those that still run."""
        with ExitStack() as stack:
            log = stack.enter_context((self._directory / "log").open("ab"))
            processes, files = [], []
            for _ in range(count):
                self._started += 1
                files.append(self._directory / f"ready-{self._started}")
                environment = {
                    **self._environment,
                    "SLUICE_WORKER_READY_FILE": str(files[-1]),
                    **settings,
                }
                command = [sys.executable, "-m", "worker"]
                process = subprocess.Popen(
                    command, cwd=ROOT, env=environment, stdout=log, stderr=log
                )
                stack.callback(process.wait)
                stack.callback(process.kill)
                processes.append(process)
            self.until(
                lambda: (
                    all(file.exists() for file in files)
                    or any(process.poll() is not None for process in processes)
                )
            )
            assert all(process.poll() is None for process in processes), self.log()
            yield processes

    def until(self, condition: Callable[[], object], seconds: float = 90) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, self.log()
            time.sleep(0.02)

    def end(self, processes: list["subprocess.Popen[bytes]"]) -> None:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(timeout=60) for process in processes] == [0] * len(processes), (
            self.log()
        )

    def log(self) -> str:
        return (self._directory / "log").read_text()[-4000:]


@pytest.fixture
def bench(live: Live, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(live, "bench", tmp_path)
    yield bench
    with redis.Redis.from_url(live.redis) as client:
        client.delete("bench")  # rings for which no worker is left


def test_thirty_stops_under_load_lose_nothing_and_run_nothing_twice(bench: Bench) -> None:
    """The exit status is 0 each time."""
    ids: list[str] = []
    for _ in range(15):
        with bench.workers(2, SLUICE_WORKER_CONCURRENCY="4") as processes:
            # The stop comes once the first prediction has ended, while others run.
            new = [bench.submit() for _ in range(16)]
            ids += new
            bench.until(lambda new=new: bench.ledger.get(new[0]).status.terminal)
            bench.end(processes)
        assert [name for name in ids if bench.ledger.get(name).status is Status.PROCESSING] == []
    with bench.workers() as processes:
        bench.until(lambda: bench.ledger.backlog() == 0)
        bench.end(processes)
    ended: list[Prediction] = [bench.ledger.get(name) for name in ids]
    assert {prediction.status for prediction in ended} == {Status.SUCCEEDED}
    assert {prediction.attempts for prediction in ended} == {1}


def test_a_prediction_longer_than_the_grace_is_requeued_and_not_counted_as_a_retry(
    live: Live, bench: Bench
) -> None:
    name = bench.submit()
    triton = live.pids()["triton"]
    os.kill(triton, signal.SIGSTOP)
    try:
        with bench.workers(SLUICE_WORKER_GRACE_S="1") as processes:
            bench.until(lambda: bench.ledger.get(name).status is Status.PROCESSING)
            bench.end(processes)
        requeued = bench.ledger.get(name)
        assert (requeued.status, requeued.attempts, requeued.retries) == (
            Status.STARTING,
            1,
            0,
        )
    finally:
        os.kill(triton, signal.SIGCONT)
    with bench.workers() as processes:
        bench.until(lambda: bench.ledger.get(name).status.terminal)
        bench.end(processes)
    assert bench.ledger.get(name).status is Status.SUCCEEDED


class Proxied:
    """A proxy before the live stack's Redis, on an event loop in a thread."""

    def __init__(self, live: Live) -> None:
        self._loop = asyncio.new_event_loop()
        host, _, port = live.redis.removeprefix("redis://").removesuffix("/0").partition(":")
        self.proxy = Proxy("redis", lambda: (host, int(port)))
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> "Proxied":
        self._thread.start()
        port = asyncio.run_coroutine_threadsafe(self.proxy.start(), self._loop).result(10)
        self.url = f"redis://127.0.0.1:{port}/0"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.proxy.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def silence(self) -> None:
        """Swallow all that open connections send, and close none; new connections work."""

        def hole() -> None:
            self.proxy.hole(random.Random(1), share=1.0)
            self.proxy.heal_hole()

        self._loop.call_soon_threadsafe(hole)


def test_a_worker_recovers_from_half_open_connections_by_its_time_outs(
    live: Live, bench: Bench
) -> None:
    """No packet tells the worker that its connections are dead."""
    with Proxied(live) as proxied:
        settings = {
            "SLUICE_REDIS_URL": proxied.url,
            "SLUICE_REDIS_WORKER_TIMEOUT_S": "3",
            "SLUICE_QUEUE_LEASE_S": "6",
        }
        settings |= {"SLUICE_QUEUE_SWEEP_INTERVAL_S": "0.5", "SLUICE_BLOBS_URL": live.redis}
        with bench.workers(**settings) as processes:
            names = [bench.submit()]
            bench.until(lambda: bench.ledger.get(names[0]).status.terminal)
            for _ in range(3):
                proxied.silence()
                names += [bench.submit() for _ in range(3)]
                bench.until(lambda: bench.ledger.backlog() == 0)
            bench.end(processes)
    assert {bench.ledger.get(name).status for name in names} == {Status.SUCCEEDED}
