"""Backup and restore by the commands of docs/guide/redis-failover.md, and a disk that is full."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis

from sluice.blobs.store import RedisBlobs, input_key
from sluice.errors import BlobsUnavailable, RedisUnavailable, Unavailable
from sluice.intake.intake import Intake
from sluice.ledger.predictions import RedisLedger
from sluice.prediction import Prediction, Status, Submission
from sluice.redisio import connection
from sluice.redisio.health import examine
from sluice.redisio.names import Names
from sluice.settings import QueueSettings, RedisAddress
from tests.fakes.doorbell import CountingDoorbell
from tests.support.failover import Server
from tests.support.waiting import until

SETTINGS = QueueSettings(lease_s=1, max_bytes=2**30)
IMAGE = b"\xff\xd8" + bytes(20_000)


def _open(ledger: "redis.Redis", blobs: "redis.Redis") -> Intake:
    return Intake(
        RedisLedger(ledger, SETTINGS),
        RedisBlobs(blobs),
        CountingDoorbell(),
        blob_ttl_s=600,
        orphan_ttl_s=600,
    )


@contextmanager
def _running(folder: Path, *arguments: str) -> Iterator["redis.Redis"]:
    server = Server(folder, *arguments)
    server.start()
    client = connection.connect(RedisAddress(port=server.port))
    try:
        yield client
    finally:
        client.close()
        server.kill()


def _snapshot(client: "redis.Redis") -> Path:
    client.bgsave()
    until(lambda: not client.info("persistence")["rdb_bgsave_in_progress"], what="the snapshot")
    assert client.info("persistence")["rdb_last_bgsave_status"] == "ok"
    return Path(client.config_get("dir")["dir"]) / "dump.rdb"


@contextmanager
def _restored(snapshot: Path, folder: Path) -> Iterator["redis.Redis"]:
    """A new server that has loaded a snapshot and keeps an append-only file again."""
    folder.mkdir(parents=True)
    shutil.copy(snapshot, folder / "dump.rdb")
    with _running(folder / "state", "--dir", str(folder), "--appendonly", "no") as client:
        client.config_set("appendonly", "yes")
        until(
            lambda: not client.info("persistence")["aof_rewrite_in_progress"], what="a whole file"
        )
        yield client


def test_both_redis_are_backed_up_under_load_and_restored_in_new_servers(tmp_path: Path) -> None:
    before: list[Prediction] = []
    over = threading.Event()
    with (
        _running(tmp_path / "ledger") as ledger_redis,
        _running(tmp_path / "blobs") as blobs_redis,
    ):
        intake = _open(ledger_redis, blobs_redis)
        ledger = RedisLedger(ledger_redis, SETTINGS)
        running = [intake.accept_new(IMAGE, Submission(model="codes")) for _ in range(3)]
        claims = [ledger.claim(f"worker-{number}", 1) for number in range(3)]
        ended = claims[0]
        assert ended
        ledger.succeed(ended, {"predictions": []}, {})

        def submit() -> None:
            while not over.is_set():
                before.append(intake.accept_new(IMAGE, Submission(model="codes")))

        load = threading.Thread(target=submit)
        load.start()
        until(lambda: len(before) > 200, what="some load")
        acknowledged = list(before)
        ledger_file, blobs_file = _snapshot(ledger_redis), _snapshot(blobs_redis)
        over.set()
        load.join()
        with (
            _restored(ledger_file, tmp_path / "new-ledger") as new_ledger,
            _restored(blobs_file, tmp_path / "new-blobs") as new_blobs,
        ):
            restored, blobs = RedisLedger(new_ledger, SETTINGS), RedisBlobs(new_blobs)
            for prediction in acknowledged:
                assert restored.get(prediction.id) == prediction
            assert restored.get(ended.prediction.id).status is Status.SUCCEEDED
            until(lambda: len(restored.sweep().requeued) or not _running_count(restored), 10)
            names = set()
            while claim := restored.claim("after", 60):
                image = blobs.get(input_key(claim.prediction.id, claim.prediction.digest))
                assert image == IMAGE
                restored.succeed(claim, {"predictions": []}, {})
                names.add(claim.prediction.id)
            alive = {*(one.id for one in acknowledged), *(one.id for one in running)}
            assert names >= alive - {ended.prediction.id}
            assert restored.backlog() == 0


def _running_count(ledger: RedisLedger) -> int:
    return ledger.load().running


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk needs the right to mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_refuses_and_loses_nothing_that_was_accepted(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with _small_disk(disk):
        server = Server(
            tmp_path / "redis", "--dir", str(disk), "--auto-aof-rewrite-percentage", "0"
        )
        server.start()
        client = connection.connect(RedisAddress(port=server.port))
        try:
            intake, ledger = _open(client, client), RedisLedger(client, SETTINGS)
            accepted: list[Prediction] = []
            with suppress(Unavailable):
                while len(accepted) < 10_000:
                    accepted.append(intake.accept_new(IMAGE, Submission(model="codes")))
            assert 50 < len(accepted) < 10_000
            # Each later call is refused too, and readiness says why.
            with pytest.raises((RedisUnavailable, BlobsUnavailable)):
                until(lambda: intake.accept_new(IMAGE, Submission(model="codes")) is None, 10)
            assert "MISCONF" in "".join(examine(client, Names("default")).faults)
            assert ledger.get(accepted[-1].id) == accepted[-1]  # still readable
            client.close()
            server.kill()
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
            server.start()
            for prediction in accepted:
                assert ledger.get(prediction.id) == prediction
            assert intake.accept_new(IMAGE, Submission(model="codes"))
        finally:
            client.close()
            server.kill()
