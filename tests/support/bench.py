"""Workers with a queue of their own beside the live stack's."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
import numpy as np
from pydantic import SecretStr

from sluice.prediction import Submission
from sluice.settings import QueueSettings, RedisSettings, Settings
from sluice.stores import Stores
from tests.support.live import Live
from tests.support.paths import ROOT

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
