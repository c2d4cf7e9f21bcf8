"""The keeper process runs rounds without a worker, during outages, and until a signal."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from sluice.blobs.store import input_key
from sluice.errors import BlobsUnavailable, RedisUnavailable
from sluice.ledger.predictions import RedisLedger
from sluice.prediction import Status, Submission
from sluice.settings import QueueSettings
from tests.fakes.blobs import MemoryBlobs
from tests.fakes.doorbell import CountingDoorbell
from tests.fakes.ledger import MemoryLedger
from tests.fakes.presence import Attendance, MemoryPresence
from tests.support.servers import free_port
from tests.support.waiting import until
from worker.keeper_process import run_forever
from worker.rounds import sweep_round


class _EndOfTest(Exception):
    pass


def _rounds(count: int) -> Callable[[float], None]:
    """Return a `sleep` that ends the loop after `count` rounds."""
    left = [count]

    def sleep(seconds: float) -> None:
        time.sleep(seconds)
        left[0] -= 1
        if not left[0]:
            raise _EndOfTest

    return sleep


def test_the_process_goes_on_after_a_failed_round(tmp_path: Path) -> None:
    ledger, alive = MemoryLedger(), tmp_path / "alive"
    doorbell = CountingDoorbell(errors=[RedisUnavailable("away"), ValueError("a fault")])
    ledger.create("a", Submission(model="codes"))
    with pytest.raises(_EndOfTest):
        run_forever(
            ledger,
            MemoryBlobs(),
            doorbell,
            QueueSettings(sweep_interval_s=0.01),
            MemoryPresence(Attendance(ledger)),
            alive,
            _rounds(4),
        )
    assert doorbell.rings == 1
    assert alive.exists()


def test_the_process_rings_while_the_blob_store_is_unavailable() -> None:
    class Away(MemoryBlobs):
        def delete(self, *keys: str) -> None:
            raise BlobsUnavailable("away")

    now = [1000.0]
    ledger, doorbell = (
        MemoryLedger(QueueSettings(start_within_s=50), lambda: now[0]),
        CountingDoorbell(),
    )
    ledger.create("late", Submission(model="codes"))
    now[0] += 49
    ledger.create("waits", Submission(model="codes"))
    now[0] += 2
    with pytest.raises(_EndOfTest):
        run_forever(
            ledger,
            Away(),
            doorbell,
            QueueSettings(sweep_interval_s=0.01),
            MemoryPresence(Attendance(ledger)),
            sleep=_rounds(1),
        )
    assert ledger.get("late").status is Status.ABORTED
    assert doorbell.rings == 1


def test_one_round_sweeps_everything_that_is_due(redis_client: "redis.Redis") -> None:
    """After a long outage, more is due than one sweep handles."""
    ledger, blobs = RedisLedger(redis_client, QueueSettings(start_within_s=0.001)), MemoryBlobs()
    for number in range(250):
        blobs.put(input_key(f"p{number}", f"d{number}"), b"image", 100)
        ledger.create(f"p{number}", Submission(model="codes"), f"d{number}")
    time.sleep(0.01)
    assert len(sweep_round(ledger, blobs, CountingDoorbell(), 1000).aborted) == 250
    assert ledger.backlog() == 0
    assert not any(blobs.get(input_key(f"p{number}", f"d{number}")) for number in range(250))


@contextmanager
def _process(redis_url: str, alive: Path) -> Iterator["subprocess.Popen[str]"]:
    own = {
        "SLUICE_REDIS_URL": redis_url,
        "SLUICE_QUEUE_SWEEP_INTERVAL_S": "0.1",
        "SLUICE_WORKER_ALIVE_FILE": str(alive),
    }
    command = [sys.executable, "-m", "worker", "keeper"]
    with subprocess.Popen(
        command, env={**os.environ, **own}, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_process_requeues_and_ends_at_sigterm(
    redis_client: "redis.Redis", redis_url: str, tmp_path: Path
) -> None:
    ledger = RedisLedger(redis_client, QueueSettings())
    ledger.create("a", Submission(model="codes"))
    assert ledger.claim("dead", 0.01)
    with _process(redis_url, tmp_path / "alive") as process:
        until(
            lambda: ledger.get("a").status is Status.STARTING and redis_client.llen("default") == 1
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_the_process_survives_an_unavailable_redis(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    with _process(f"redis://127.0.0.1:{free_port()}/0", alive) as process:
        assert process.stderr is not None
        lines = process.stderr.readline() + process.stderr.readline()
        assert "Redis is unavailable" in lines  # the round's words
        assert "Connection refused" in lines  # the cause
        alive.unlink()
        until(alive.exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_an_unknown_process_is_refused_with_the_known_names() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "worker", "kepeer"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "'predictions', 'keeper'" in ended.stderr
