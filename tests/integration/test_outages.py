"""Outages of Redis under load, with a Redis that the tests kill, stop and start by themselves."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import redis
from pydantic import SecretStr

from sluice.local.servers.redis import find_server
from sluice.local.stack import Stack, StackConfig
from sluice.prediction import Submission
from sluice.settings import RedisSettings, Settings
from sluice.stores import Stores
from tests.support.servers import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.integration

IMAGE = cv2.imencode(".jpg", np.random.default_rng(3).integers(0, 256, (240, 320, 3), np.uint8))[
    1
].tobytes()
AWAY_S = 5.0
LIVE = "{default}:live"


class OwnRedis:
    """A Redis at one port that can be away for a while."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis(port=self.port)
        self.start()

    def start(self) -> None:
        command = [str(find_server()), "--bind", "127.0.0.1", "--port", str(self.port)]
        command += ["--save", "", "--appendonly", "yes", "--dir", str(self._folder)]
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._answers)

    def away(self, end: str) -> None:
        """Be away for AWAY_S, `killed` or `stopped`."""
        if end == "killed":
            self.process.kill()
            self.process.wait()
            time.sleep(AWAY_S)
            self.start()
        else:
            self.process.send_signal(signal.SIGSTOP)
            time.sleep(AWAY_S)
            self.process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.exceptions.RedisError:
            return False


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRedis]:
    server = OwnRedis(tmp_path_factory.mktemp("redis"))
    yield server
    server.client.close()
    server.process.kill()
    server.process.wait()


@pytest.fixture(scope="module")
def workers(own_redis: OwnRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    config = StackConfig(
        state=tmp_path_factory.mktemp("state"),
        port=0,
        workers=2,
        env={"SLUICE_REDIS_URL": own_redis.url, "SLUICE_BLOBS_URL": own_redis.url},
        parts=frozenset({"triton", "worker"}),
    )
    with Stack(config) as stack:
        yield stack


@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_work_resumes_after_an_outage_of_redis_and_no_process_is_replaced(
    own_redis: OwnRedis, workers: Stack, end: str
) -> None:
    """The bound is less than a lease: predictions that ran at the outage do not wait for theirs."""
    stores = Stores.open(Settings(redis=RedisSettings(url=SecretStr(own_redis.url))), timeout_s=10)
    before = workers.pids
    for _ in range(400):
        stores.intake.accept_new(IMAGE, Submission(model="codes"))
    until(lambda: own_redis.client.zcard(LIVE) < 360)
    own_redis.away(end)
    until(lambda: own_redis.client.zcard(LIVE) == 0, 25)
    assert workers.pids == before
    stores.close()


def test_a_worker_that_celery_ends_says_so_by_its_status(
    own_redis: OwnRedis, tmp_path: Path
) -> None:
    """A message that is no JSON ends Celery. A supervisor takes status 0 for a wanted end."""
    ready = tmp_path / "ready"
    ready.touch()  # as a killed process leaves it
    environment = {
        **os.environ,
        "SLUICE_REDIS_URL": own_redis.url,
        "SLUICE_QUEUE_NAME": "own",
        "SLUICE_WORKER_READY_FILE": str(ready),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "worker"], env=environment, stderr=subprocess.DEVNULL
    ) as worker:
        try:
            until(lambda: not ready.exists())
            until(ready.exists)
            own_redis.client.lpush("own", "no message")
            assert worker.wait(60) == 1
        finally:
            worker.kill()
