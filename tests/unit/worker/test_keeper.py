"""The keeper repairs what a crash left, and rings for predictions without a message."""

import threading
from dataclasses import dataclass, field

import pytest

from sluice.blobs.store import input_key
from sluice.errors import BlobsUnavailable, RedisUnavailable
from sluice.ledger.answers import Swept
from sluice.prediction import Status, Submission
from sluice.settings import QueueSettings
from tests.fakes.blobs import MemoryBlobs
from tests.fakes.doorbell import CountingDoorbell
from tests.fakes.ledger import MemoryLedger
from tests.support.waiting import until
from tests.unit.worker.conftest import World
from worker.keeper import Keeper
from worker.rounds import sweep_round
from worker.runner import Runner
from worker.watchdog import LeaseWatchdog


def _sweep(
    ledger: MemoryLedger, doorbell: CountingDoorbell, blobs: MemoryBlobs | None = None
) -> Swept:
    return sweep_round(ledger, blobs or MemoryBlobs(), doorbell, dead_retention_s=1000)


def test_the_keeper_rings_once_for_each_prediction_without_a_message() -> None:
    ledger, doorbell = MemoryLedger(), CountingDoorbell(rings=1)
    for name in "abc":
        ledger.create(name, Submission(model="codes"))
    _sweep(ledger, doorbell)
    assert doorbell.waiting() == 3
    _sweep(ledger, doorbell)
    assert doorbell.waiting() == 3, "no second ring for the same predictions"


def test_an_empty_queue_needs_no_count_of_messages() -> None:
    class Silent(CountingDoorbell):
        def waiting(self) -> int:
            raise AssertionError

    _sweep(MemoryLedger(), Silent())


def test_a_lapsed_lease_is_queued_again_and_rung_for() -> None:
    ledger, doorbell = MemoryLedger(), CountingDoorbell()
    ledger.create("a", Submission(model="codes"))
    ledger.claim("w", -1)
    _sweep(ledger, doorbell)
    assert ledger.get("a").status is Status.STARTING
    assert doorbell.rings == 1


def test_a_dead_letters_image_is_kept_and_an_aborted_ones_is_not() -> None:
    now = [1000.0]
    ledger, blobs = (
        MemoryLedger(QueueSettings(max_shared_lapses=1, start_within_s=50), lambda: now[0]),
        MemoryBlobs(lambda: now[0]),
    )
    for name in ("dead", "late"):
        blobs.put(input_key(name, ""), b"image", 100)
        ledger.create(name, Submission(model="codes"))
    ledger.claim("w", -1)
    _sweep(ledger, CountingDoorbell(), blobs)
    ledger.claim("w", -1, alone=True)
    assert _sweep(ledger, CountingDoorbell(), blobs).dead == ("dead",)
    now[0] += 60
    assert _sweep(ledger, CountingDoorbell(), blobs).aborted == ("late",)
    assert blobs.get(input_key("late", "")) is None
    now[0] += 900
    assert blobs.get(input_key("dead", "")) == b"image"


def test_a_dead_letters_image_is_kept_once_the_blob_store_is_back() -> None:
    class Away(MemoryBlobs):
        away = True

        def keep(self, key: str, ttl_s: int) -> bool:
            if self.away:
                raise BlobsUnavailable("away")
            return super().keep(key, ttl_s)

    now = [1000.0]
    ledger, blobs = (
        MemoryLedger(QueueSettings(max_shared_lapses=1), lambda: now[0]),
        Away(lambda: now[0]),
    )
    blobs.put(input_key("dead", ""), b"image", 100)
    ledger.create("dead", Submission(model="codes"))
    for alone in (False, True):
        assert ledger.claim("w", -1, alone=alone)
        if not alone:
            _sweep(ledger, CountingDoorbell(), blobs)
    with pytest.raises(BlobsUnavailable):
        _sweep(ledger, CountingDoorbell(), blobs)
    blobs.away = False
    assert _sweep(ledger, CountingDoorbell(), blobs).dead == ("dead",)
    assert _sweep(ledger, CountingDoorbell(), blobs).dead == ()
    now[0] += 900
    assert blobs.get(input_key("dead", "")) == b"image"


@dataclass
class Process:
    """A worker's parts, without Celery."""

    world: World = field(default_factory=World)
    doorbell: CountingDoorbell = field(default_factory=CountingDoorbell)
    stuck: threading.Event = field(default_factory=threading.Event)
    troubled: bool = False
    started: bool = True

    def keeper(self, stuck_after_s: float = 1000) -> Keeper:
        self.watchdog = LeaseWatchdog(self.world.ledger, lease_s=10)
        self.runner = Runner(
            self.world.ledger,
            self.world.blobs,
            self.world.pipeline,
            self.watchdog,
            QueueSettings(),
            worker="host/1",
        )
        return Keeper(
            self.world.ledger,
            self.world.blobs,
            self.doorbell,
            self.runner,
            self.watchdog,
            interval_s=0.02,
            dead_retention_s=1000,
            stuck_after_s=stuck_after_s,
            on_stuck=self.stuck.set,
            is_troubled=lambda: self.troubled,
            takes_messages=lambda: self.started,
        )


@pytest.fixture
def process() -> Process:
    return Process()


def test_the_keeper_goes_on_after_a_failed_round(process: Process) -> None:
    process.doorbell.errors = [RedisUnavailable("away"), ValueError("a fault")]
    process.world.ledger.create("a", Submission(model="codes"))
    keeper = process.keeper()
    keeper.start()
    until(lambda: process.doorbell.rings)
    keeper.stop()
    assert process.doorbell.rings == 1


def test_the_keeper_runs_a_prediction_that_must_run_alone(process: Process) -> None:
    ledger = process.world.ledger
    process.world.submit("a")
    for _ in range(2):
        ledger.claim("dead", -1)
        ledger.sweep()
    keeper = process.keeper()
    keeper.start()
    until(lambda: ledger.get("a").status.terminal)
    keeper.stop()
    assert ledger.get("a").status is Status.SUCCEEDED


def test_the_keeper_tells_whether_its_worker_is_troubled(process: Process) -> None:
    process.troubled = True
    keeper = process.keeper()
    keeper.start()
    until(lambda: process.world.ledger.load().troubled == 1)
    process.troubled = False
    until(lambda: process.world.ledger.load().troubled == 0)
    assert process.world.ledger.load().workers == 1
    keeper.stop()


def test_only_a_worker_that_no_message_reaches_is_stuck(process: Process) -> None:
    keeper = process.keeper(stuck_after_s=0.3)
    keeper.start()
    assert not process.stuck.wait(0.6), "the queue is empty"
    with process.world.ledger._lock:  # no sweep of the keeper falls in between
        process.world.submit("a")
        claim = process.world.ledger.claim("w", 100)
        assert claim is not None
        hold = process.watchdog.hold(claim)
        process.world.submit("b")
    assert not process.stuck.wait(0.6), "the process is busy"
    process.watchdog.release(hold)
    assert process.stuck.wait(20)
    keeper.stop()


def test_a_worker_that_starts_has_more_time(process: Process) -> None:
    """On a busy machine a start takes long, and a new start would take as long again."""
    process.world.submit("a")
    process.started = False
    keeper = process.keeper(stuck_after_s=0.3)
    keeper.start()
    assert not process.stuck.wait(0.9)
    process.started = True
    assert process.stuck.wait(20)
    keeper.stop()
    process.stuck.clear()
    process.started = False
    keeper = process.keeper(stuck_after_s=0.1)
    keeper.start()
    assert process.stuck.wait(20), "a start that hangs"
    keeper.stop()


def test_an_outage_of_redis_makes_no_worker_stuck(process: Process) -> None:
    process.world.submit("a")
    process.doorbell.errors = [RedisUnavailable("away")] * 1000
    keeper = process.keeper(stuck_after_s=0.3)
    keeper.start()
    assert not process.stuck.wait(0.8)
    keeper.stop()
