"""One attempt and its outcomes."""

import dataclasses
import threading
import time
from typing import Any

import pytest

from sluice.blobs.store import input_key
from sluice.errors import (
    BlobsUnavailable,
    DeadlineExceeded,
    ImageUnreachable,
    InferenceFailed,
    LeaseLost,
    RedisUnavailable,
    TritonUnavailable,
    Unavailable,
)
from sluice.prediction import Claim, Status, Submission
from sluice.settings import QueueSettings
from tests.fakes.blobs import MemoryBlobs
from tests.fakes.ledger import MemoryLedger
from tests.support.waiting import until
from tests.unit.worker.conftest import World, png
from worker.breaker import Breaker
from worker.runner import Runner
from worker.watchdog import LeaseWatchdog


def _runner(world: World, **changes: Any) -> Runner:
    return _runner_and_watchdog(world, **changes)[0]


def _runner_and_watchdog(world: World, **changes: Any) -> tuple[Runner, LeaseWatchdog]:
    settings = QueueSettings(**{"lease_s": 10.0, "retry_for_s": 60.0} | changes)
    watchdog, breaker = LeaseWatchdog(world.ledger, lease_s=10), Breaker(threshold=1000)
    runner = Runner(
        world.ledger,
        world.blobs,
        world.pipeline,
        watchdog,
        settings,
        worker="host/1",
        breaker=breaker,
        jitter=lambda: 1.0,
    )
    return runner, watchdog


def test_an_empty_queue_gives_no_work(world: World) -> None:
    assert not _runner(world).run_one()


def test_a_success_is_recorded_and_its_image_is_deleted(world: World) -> None:
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
        (None, "codes", [ZeroDivisionError("a secret")], "internal"),
    ],
)
def test_an_error_that_would_repeat_fails_the_prediction_at_once(
    world: World, image: bytes | None, model: str, errors: list[Exception], code: str
) -> None:
    world.submit(image=image, model=model)
    world.engine.errors = errors
    assert _runner(world).run_one()
    ended = world.ledger.get("a")
    assert ended.status is Status.FAILED
    assert ended.error is not None
    assert ended.error.code == code
    assert "a secret" not in ended.error.message
    assert world.blobs.get(input_key("a", "")) is None


def test_an_output_that_is_too_large_fails_the_prediction(world: World) -> None:
    world.ledger = MemoryLedger(QueueSettings(max_output_bytes=1000))
    world.submit(confidence=0.0)
    world.engine.loaded = dataclasses.replace(world.engine.loaded, names=("c" * 600, "d" * 600))
    _runner(world).run_one()
    error = world.ledger.get("a").error
    assert error is not None
    assert error.code == "output_too_large"


def test_a_missing_image_fails_the_prediction(world: World) -> None:
    world.submit()
    world.blobs.delete(input_key("a", ""))
    _runner(world).run_one()
    error = world.ledger.get("a").error
    assert error is not None
    assert error.code == "image_expired"


@pytest.mark.parametrize(
    "error", [TritonUnavailable("away"), DeadlineExceeded("slow"), BlobsUnavailable("away")]
)
def test_an_unavailable_part_delays_the_prediction(world: World, error: Unavailable) -> None:
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


def test_retries_end_after_retry_for_s(world: World) -> None:
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


def test_an_unknown_model_is_retried_while_it_may_be_loading(world: World) -> None:
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


def test_retries_end_after_max_retries(world: World) -> None:
    world.submit()
    runner = _runner(world, max_retries=0)
    world.engine.errors = [TritonUnavailable("Triton is unavailable")]
    runner.run_one()
    assert world.ledger.get("a").status is Status.FAILED


class _Usurped(MemoryLedger):
    """Another worker has claimed the prediction before this one succeeds."""

    def succeed(self, claim: Claim, *_: object) -> None:
        raise LeaseLost("no longer this attempt's")


def test_a_stale_result_is_dropped_and_the_image_is_kept(world: World) -> None:
    world.ledger = _Usurped()
    world.submit()
    assert _runner(world).run_one()
    assert world.ledger.get("a").status is Status.PROCESSING
    assert world.blobs.get(input_key("a", "")) is not None


class _Silent(MemoryLedger):
    """Does not answer when a success is recorded."""

    def succeed(self, claim: Claim, *_: object) -> None:
        raise RedisUnavailable("Redis did not answer in time")


def test_a_prediction_whose_result_may_not_be_on_record_is_queued_again(world: World) -> None:
    """The lease would hold the prediction for longer than the outage."""
    world.ledger = _Silent()
    world.submit()
    runner, watchdog = _runner_and_watchdog(world)
    with pytest.raises(RedisUnavailable):
        runner.run_one()
    assert world.blobs.get(input_key("a", "")) is not None
    assert world.ledger.get("a").status is Status.PROCESSING
    watchdog.start()
    until(lambda: world.ledger.get("a").status is Status.STARTING)
    watchdog.stop()
    assert world.ledger.get("a").retries == 0


def test_a_result_on_record_stays_although_its_answer_was_lost(world: World) -> None:
    class Mute(MemoryLedger):
        def succeed(self, claim: Claim, *arguments: Any) -> None:
            super().succeed(claim, *arguments)
            raise RedisUnavailable("Redis did not answer in time")

    world.ledger = Mute()
    world.submit()
    runner, watchdog = _runner_and_watchdog(world)
    with pytest.raises(RedisUnavailable):
        runner.run_one()
    watchdog.start()
    until(lambda: not watchdog.returning)
    watchdog.stop()
    assert world.ledger.get("a").status is Status.SUCCEEDED


def test_an_unreachable_image_is_retried_and_leaves_the_breaker_closed(world: World) -> None:
    def fetch(_: str) -> bytes:
        raise ImageUnreachable("no answer")

    world.ledger.create("far", Submission(model="codes", image_url="https://example.com/a.png"))
    world.submit("near")
    runner = Runner(
        world.ledger,
        world.blobs,
        dataclasses.replace(world.pipeline, fetch=fetch),
        LeaseWatchdog(world.ledger, lease_s=10),
        QueueSettings(),
        worker="host/1",
        breaker=Breaker(threshold=1),
        jitter=lambda: 1.0,
    )
    assert [runner.run_one() for _ in range(3)] == [True, True, False]
    assert world.ledger.get("far").status is Status.STARTING
    assert world.ledger.get("far").retries == 1
    assert world.ledger.get("near").status is Status.SUCCEEDED


def test_a_canceled_prediction_stops_at_its_next_stage(world: World) -> None:
    """The watchdog notices at the next renewal, and no inference follows."""

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


def test_predictions_wait_while_triton_is_unavailable(world: World) -> None:
    """Three attempts fail and open the breaker. Then one claim an interval is a probe."""
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


def test_an_attempt_that_says_nothing_about_triton_leaves_the_probe_to_the_next(
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
    world.submit("unknown", model="missing")
    world.submit("good")
    assert [runner.run_one() for _ in range(3)] == [True, True, False], (
        "an unknown model may be one that is not loaded yet"
    )
    assert world.ledger.get("bad").status is Status.FAILED
    now[0] = 20.2
    assert runner.run_one()
    assert world.ledger.get("good").status is Status.SUCCEEDED


def test_a_prediction_that_must_run_alone_waits_for_the_others(world: World) -> None:
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


def test_a_stopping_process_claims_no_prediction(world: World) -> None:
    world.submit()
    runner = _runner(world)
    runner.stop()
    assert not runner.run_one()
    assert world.ledger.get("a").status is Status.STARTING
