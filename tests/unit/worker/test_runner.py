"""One attempt, and what becomes of it."""

import dataclasses
import threading
import time
from typing import Any

import pytest

from sluice.blobs.store import input_key
from sluice.errors import (
    BlobsUnavailable,
    DeadlineExceeded,
    InferenceFailed,
    LeaseLost,
    TritonUnavailable,
    Unavailable,
)
from sluice.prediction import Claim, Status
from sluice.settings import QueueSettings
from tests.fakes.blobs import MemoryBlobs
from tests.fakes.ledger import MemoryLedger
from tests.unit.worker.conftest import World, png
from worker.breaker import Breaker
from worker.runner import Runner
from worker.watchdog import LeaseWatchdog


def _runner(world: World, **changes: Any) -> Runner:
    settings = QueueSettings(**{"lease_s": 10.0, "retry_for_s": 60.0} | changes)
    watchdog, breaker = LeaseWatchdog(world.ledger, lease_s=10), Breaker(threshold=1000)
    return Runner(
        world.ledger,
        world.blobs,
        world.pipeline,
        watchdog,
        settings,
        worker="host/1",
        breaker=breaker,
        jitter=lambda: 1.0,
    )


def test_nothing_to_do(world: World) -> None:
    assert not _runner(world).run_one()


def test_success_is_recorded_and_the_image_is_forgotten(world: World) -> None:
    world.submit()
    assert _runner(world).run_one()
    ended = world.ledger.get("a")
    assert ended.status is Status.SUCCEEDED
    assert ended.output is not None
    assert ended.output["predictions"][0]["class"] == "dog"
    assert {"queue_time", "predict_time"} <= set(ended.metrics)
    assert world.blobs.get(input_key("a", "")) is None


@pytest.mark.parametrize(
    ("image", "model", "errors", "code"),
    [
        (b"no image", "codes", [], "not_an_image"),
        (None, "codes", [InferenceFailed("the model failed")], "inference_failed"),
        (None, "codes", [ZeroDivisionError("a fault of ours")], "internal"),
    ],
)
def test_what_will_not_pass_fails_at_once(
    world: World, image: bytes | None, model: str, errors: list[Exception], code: str
) -> None:
    world.submit(image=image, model=model)
    world.engine.errors = errors
    assert _runner(world).run_one()
    ended = world.ledger.get("a")
    assert ended.status is Status.FAILED
    assert ended.error is not None
    assert ended.error.code == code
    assert "a fault of ours" not in ended.error.message
    assert world.blobs.get(input_key("a", "")) is None


def test_too_much_found_is_a_failure_that_says_so(world: World) -> None:
    world.ledger = MemoryLedger(QueueSettings(max_output_bytes=1000))
    world.submit(confidence=0.0)
    world.engine.known = dataclasses.replace(world.engine.known, names=("c" * 600, "d" * 600))
    _runner(world).run_one()
    error = world.ledger.get("a").error
    assert error is not None
    assert error.code == "output_too_large"


def test_an_image_that_expired(world: World) -> None:
    world.submit()
    world.blobs.delete(input_key("a", ""))
    _runner(world).run_one()
    error = world.ledger.get("a").error
    assert error is not None
    assert error.code == "image_expired"


@pytest.mark.parametrize(
    "error", [TritonUnavailable("away"), DeadlineExceeded("slow"), BlobsUnavailable("away")]
)
def test_what_may_pass_is_tried_again_later(world: World, error: Unavailable) -> None:
    now = [1000.0]
    world.ledger = MemoryLedger(clock=lambda: now[0])
    world.submit()
    runner = _runner(world)
    world.engine.errors = [error, error]
    for delay_s in (1.0, 2.0):  # doubled each time
        assert runner.run_one()
        assert world.ledger.get("a").status is Status.STARTING
        assert world.blobs.get(input_key("a", "")) is not None
        now[0] += delay_s - 0.01
        assert not runner.run_one()
        now[0] += 0.02
    assert runner.run_one()
    ended = world.ledger.get("a")
    assert ended.status is Status.SUCCEEDED
    assert ended.attempts == 3


def test_but_not_for_ever(world: World) -> None:
    now = [1000.0]
    world.ledger = MemoryLedger(clock=lambda: now[0])
    world.submit()
    runner = _runner(world)
    world.engine.errors = [TritonUnavailable("Triton is unavailable")] * 100
    while not world.ledger.get("a").status.terminal:
        runner.run_one()
        now[0] += 5
    ended = world.ledger.get("a")
    assert ended.error is not None
    assert ended.error.code == "triton_unavailable"
    assert 60 <= now[0] - 1000 <= 100
    assert ended.attempts < 12, "the delays grow"
    assert ended.retries == ended.attempts - 1


def test_a_model_may_still_be_loading(world: World) -> None:
    now = [1000.0]
    world.ledger = MemoryLedger(clock=lambda: now[0])
    world.submit(model="other")
    runner = _runner(world, model_grace_s=20)
    runner.run_one()
    assert world.ledger.get("a").status is Status.STARTING
    while not world.ledger.get("a").status.terminal:
        runner.run_one()
        now[0] += 5
    error = world.ledger.get("a").error
    assert error is not None
    assert error.code == "unknown_model"
    assert 1020 <= now[0] <= 1060


def test_nor_more_often_than_is_allowed(world: World) -> None:
    world.submit()
    runner = _runner(world, max_retries=0)
    world.engine.errors = [TritonUnavailable("Triton is unavailable")]
    runner.run_one()
    assert world.ledger.get("a").status is Status.FAILED


class _Usurped(MemoryLedger):
    """Another worker has the prediction by the time that this one is done."""

    def succeed(self, claim: Claim, *_: object) -> None:
        raise LeaseLost("no longer this attempt's")


def test_a_stale_result_is_dropped_and_the_image_is_kept(world: World) -> None:
    world.ledger = _Usurped()
    world.submit()
    assert _runner(world).run_one()
    assert world.ledger.get("a").status is Status.PROCESSING
    assert world.blobs.get(input_key("a", "")) is not None


def test_what_was_canceled_stops_at_its_next_stage(world: World) -> None:
    """The watchdog learns of it when it renews the lease; the inference that would come next is not asked for."""

    class Slow(MemoryBlobs):
        def get(self, key: str) -> bytes | None:
            world.ledger.cancel("a")
            until = time.monotonic() + 20
            while (
                not all(hold.lost for hold in watchdog._held_leases()) and time.monotonic() < until
            ):
                time.sleep(0.01)
            return super().get(key)

    world.blobs = Slow()
    world.submit()
    watchdog = LeaseWatchdog(world.ledger, lease_s=0.3)
    watchdog.start()
    runner = Runner(
        world.ledger,
        world.blobs,
        world.pipeline,
        watchdog,
        QueueSettings(lease_s=0.3),
        worker="host/1",
    )
    assert runner.run_one()
    watchdog.stop()
    assert world.ledger.get("a").status is Status.CANCELED
    assert world.engine.seen == []


def test_while_a_part_is_away_predictions_wait(world: World) -> None:
    """Three fail, and are tried again later; the rest are not even claimed, but for one now and then."""
    now = [0.0]
    for number in range(10):
        world.submit(f"p{number}")
    world.engine.errors = [TritonUnavailable("away")] * 4
    breaker = Breaker(threshold=3, first_s=1, clock=lambda: now[0])
    watchdog = LeaseWatchdog(world.ledger, lease_s=10)
    runner = Runner(
        world.ledger,
        world.blobs,
        world.pipeline,
        watchdog,
        QueueSettings(),
        worker="host/1",
        breaker=breaker,
        jitter=lambda: 1.0,
    )
    assert [runner.run_one() for _ in range(6)] == [True, True, True, False, False, False]
    assert [world.ledger.get(f"p{number}").attempts for number in range(10)] == [
        1,
        1,
        1,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ]
    now[0] = 1.1
    assert [runner.run_one() for _ in range(3)] == [True, False, False], (
        "the probe fails, and the wait is longer"
    )
    now[0] = 2.2
    assert not runner.run_one()
    now[0] = 3.2
    assert [runner.run_one() for _ in range(6)] == [True] * 6, (
        "the probe succeeds, and the rest follow"
    )


def test_what_tells_nothing_of_the_part_that_is_away_leaves_the_probe_to_the_next(
    world: World,
) -> None:
    now = [0.0]
    breaker, watchdog = (
        Breaker(threshold=1, first_s=10, clock=lambda: now[0]),
        LeaseWatchdog(world.ledger, lease_s=10),
    )
    parts = world.ledger, world.blobs, world.pipeline, watchdog, QueueSettings()
    runner = Runner(*parts, worker="host/1", breaker=breaker, jitter=lambda: 1000.0)
    world.engine.errors = [TritonUnavailable("away")]
    world.submit("first")
    assert runner.run_one()
    now[0] = 10.1
    assert not runner.run_one(), "there is nothing to claim"
    world.submit("bad", image=b"no image")
    world.submit("unknown", model="nobody's")
    world.submit("good")
    assert [runner.run_one() for _ in range(3)] == [True, True, False], (
        "an unknown model may be one that is not loaded yet"
    )
    assert world.ledger.get("bad").status is Status.FAILED
    now[0] = 20.2
    assert runner.run_one()
    assert world.ledger.get("good").status is Status.SUCCEEDED


def test_what_must_run_alone_waits_for_its_neighbours(world: World) -> None:
    world.ledger = MemoryLedger(QueueSettings(max_shared_lapses=1))
    world.submit("poison")
    world.ledger.claim("dead", -1)
    world.ledger.sweep()
    world.submit("neighbour")
    inside, go_on = threading.Event(), threading.Event()
    order = []

    class Watched(MemoryBlobs):
        def get(self, key: str) -> bytes | None:
            order.append(key.partition("/")[0])
            if key.startswith("neighbour"):
                inside.set()
                assert go_on.wait(20)
                order.append("neighbour is done")
            return png()

    world.blobs = Watched()
    runner = _runner(world)
    threads = [threading.Thread(target=runner.run_one)]
    threads[0].start()
    assert inside.wait(20)
    threads.append(threading.Thread(target=runner.run_one_alone))
    threads[1].start()
    time.sleep(0.1)
    assert order == ["neighbour"]
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert order == ["neighbour", "neighbour is done", "poison"]
    assert world.ledger.get("poison").status is Status.SUCCEEDED


def test_a_process_that_stops_claims_nothing_more(world: World) -> None:
    world.submit()
    runner = _runner(world)
    runner.stop()
    assert not runner.run_one()
    assert world.ledger.get("a").status is Status.STARTING
