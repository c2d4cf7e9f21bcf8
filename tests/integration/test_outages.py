"""Outages of Redis, and dead and paused workers: whose predictions run again, and how soon.

The lease has its default length. Every wait for a remedy other than the lease ends before it.
"""

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
from sluice.prediction import Status, Submission
from sluice.settings import RedisSettings, Settings
from sluice.stores import Stores
from tests.support.servers import free_port, stopped
from tests.support.waiting import until

pytestmark = pytest.mark.integration

IMAGE = cv2.imencode(".jpg", np.random.default_rng(3).integers(0, 256, (240, 320, 3), np.uint8))[
    1
].tobytes()
AWAY_S = 5.0
LIVE = "{default}:live"
BEFORE_THE_LEASE_S = 25


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
        env={
            "SLUICE_REDIS_URL": own_redis.url,
            "SLUICE_BLOBS_URL": own_redis.url,
            # A stopped Triton holds the predictions, and neither time may end them.
            "SLUICE_TRITON_TIMEOUT_S": "60",
            "SLUICE_TRITON_SILENCE_S": "60",
        },
        parts=frozenset({"triton", "worker"}),
    )
    with Stack(config) as stack:
        yield stack


@pytest.fixture
def stores(own_redis: OwnRedis) -> Iterator[Stores]:
    settings = Settings(redis=RedisSettings(url=SecretStr(own_redis.url)))
    stores = Stores.open(settings, timeout_s=10)
    yield stores
    stores.close()


def _submit(stores: Stores, count: int) -> list[str]:
    return [stores.intake.accept_new(IMAGE, Submission(model="codes")).id for _ in range(count)]


def _until_all_succeeded(own_redis: OwnRedis, stores: Stores, names: list[str]) -> None:
    until(lambda: own_redis.client.zcard(LIVE) == 0, BEFORE_THE_LEASE_S)
    assert {stores.ledger.get(name).status for name in names} == {Status.SUCCEEDED}


def _running(own_redis: OwnRedis, pid: int) -> list[str]:
    """The predictions that run in this process."""
    names = [name.decode() for name in own_redis.client.zrange("{default}:leases", 0, -1)]
    return [name for name in names if f"/{pid}/" in _field(own_redis, name, "owner")]


def _field(own_redis: OwnRedis, name: str, field: str) -> str:
    return (own_redis.client.hget(f"{{default}}:prediction:{name}", field) or b"").decode()


@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_work_resumes_after_an_outage_of_redis_and_no_process_is_replaced(
    own_redis: OwnRedis, workers: Stack, stores: Stores, end: str
) -> None:
    """Predictions that ran at the outage do not wait for their leases, and none has lapsed."""
    before = workers.pids
    names = _submit(stores, 400)
    until(lambda: own_redis.client.zcard(LIVE) < 360)
    own_redis.away(end)
    _until_all_succeeded(own_redis, stores, names)
    assert workers.pids == before
    assert [name for name in names if _field(own_redis, name, "lapses")] == []


def test_a_killed_workers_predictions_run_again_before_their_leases_lapse(
    own_redis: OwnRedis, workers: Stack, stores: Stores
) -> None:
    pid = workers.pids["worker-1"]
    with stopped(workers.pids["triton"]):
        names = _submit(stores, 8)
        until(lambda: own_redis.client.zcard("{default}:leases") == 8)
        lost = _running(own_redis, pid)
        assert lost
        os.kill(pid, signal.SIGKILL)
    _until_all_succeeded(own_redis, stores, names)
    repeated = [name for name in names if stores.ledger.get(name).attempts > 1]
    assert sorted(repeated) == sorted(lost), "and no other prediction"
    assert {_field(own_redis, name, "lapses") for name in lost} == {"1"}
    until(lambda: workers.pids.get("worker-1") not in (None, pid))


def test_a_paused_workers_predictions_are_neither_lost_nor_repeated(
    own_redis: OwnRedis, workers: Stack, stores: Stores
) -> None:
    paused = workers.pids["worker-2"]
    with stopped(workers.pids["triton"]):
        names = _submit(stores, 8)
        until(lambda: own_redis.client.zcard("{default}:leases") == 8)
        assert _running(own_redis, paused)
        with stopped(paused):
            time.sleep(10)
    _until_all_succeeded(own_redis, stores, names)
    assert {stores.ledger.get(name).attempts for name in names} == {1}


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
