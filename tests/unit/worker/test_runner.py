"""One attempt, and what becomes of it."""

import time
from typing import Any

import pytest

from sluice.errors import BlobsUnavailable, DeadlineExceeded, InferenceFailed, LeaseLost, TritonUnavailable, Unavailable
from sluice.prediction import Claim, Status
from tests.fakes import MemoryLedger
from tests.unit.worker.conftest import World
from worker.runner import Heart, Runner


def _runner(world: World, **changes: Any) -> Runner:
    options = {"worker": "host/1", "lease_s": 10.0, "retry_for_s": 60.0, "jitter": lambda: 1.0} | changes
    return Runner(world.ledger, world.blobs, world.pipeline, Heart(world.ledger, 10), **options)


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
    assert world.blobs.get("a/input") is None


@pytest.mark.parametrize(
    ("image", "model", "errors", "code"),
    [
        (b"no image", "codes", [], "not_an_image"),
        (None, "other", [], "unknown_model"),
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
    assert world.blobs.get("a/input") is None


def test_an_image_that_expired(world: World) -> None:
    world.submit()
    world.blobs.delete("a/input")
    _runner(world).run_one()
    error = world.ledger.get("a").error
    assert error is not None
    assert error.code == "image_expired"


@pytest.mark.parametrize("error", [TritonUnavailable("away"), DeadlineExceeded("slow"), BlobsUnavailable("away")])
def test_what_may_pass_is_tried_again_later(world: World, error: Unavailable) -> None:
    now = [1000.0]
    world.ledger = MemoryLedger(lambda: now[0])
    world.submit()
    runner = _runner(world)
    world.engine.errors = [error, error]
    for delay_s in (1.0, 2.0):  # doubled each time
        assert runner.run_one()
        assert world.ledger.get("a").status is Status.STARTING
        assert world.blobs.get("a/input") is not None
        now[0] += delay_s - 0.01
        assert not runner.run_one()
        now[0] += 0.02
    assert runner.run_one()
    ended = world.ledger.get("a")
    assert ended.status is Status.SUCCEEDED
    assert ended.attempts == 3


def test_but_not_for_ever(world: World) -> None:
    now = [1000.0]
    world.ledger = MemoryLedger(lambda: now[0])
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


class _Usurped(MemoryLedger):
    """Another worker has the prediction by the time that this one is done."""

    def succeed(self, claim: Claim, *_: object) -> None:
        raise LeaseLost("no longer this attempt's")


def test_a_stale_result_is_dropped_and_the_image_is_kept(world: World) -> None:
    world.ledger = _Usurped()
    world.submit()
    assert _runner(world).run_one()
    assert world.ledger.get("a").status is Status.PROCESSING
    assert world.blobs.get("a/input") is not None


def test_the_heart_keeps_what_it_holds_and_nothing_else(world: World) -> None:
    heart = Heart(world.ledger, lease_s=0.3)
    for name in ("held", "let-go"):
        world.submit(name)
    claims = [world.ledger.claim(f"w{i}", 0.3) for i in range(2)]
    heart.start()
    try:
        for claim in claims:
            assert claim is not None
            heart.hold(claim)
        assert claims[1] is not None
        heart.release(claims[1])
        until = time.monotonic() + 20
        while not (swept := world.ledger.sweep(5)).requeued and time.monotonic() < until:
            time.sleep(0.05)
        assert swept.requeued == ("let-go",)
        assert world.ledger.get("held").status is Status.PROCESSING
    finally:
        heart.stop()
