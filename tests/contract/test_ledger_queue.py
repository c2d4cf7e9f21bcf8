"""The contract of `Ledger` as a queue: bounds, deadlines, turns, priorities and load."""

import time
import uuid

import pytest
import redis

from sluice.errors import NotFound, QueueFull
from sluice.ledger.answers import TOO_LATE, Swept
from sluice.ledger.predictions import Ledger, RedisLedger
from sluice.prediction import Priority, Status, Submission
from sluice.settings import QueueSettings
from tests.support.ledgers import claimed, limited


@pytest.mark.parametrize("kind", ["redis", "memory"])
def test_a_prediction_that_did_not_start_before_its_deadline_is_aborted(
    kind: str, request: pytest.FixtureRequest
) -> None:
    ledger = limited(kind, request, QueueSettings())
    ledger.create("a", Submission(model="codes"))
    running = ledger.claim("w", 10)
    assert running is not None
    ledger.create("b", Submission(model="codes", start_within_s=0.2), "d2")
    time.sleep(0.25)
    assert ledger.sweep() == Swept((), (), ("b",), 0, 0, digests=("d2",))
    assert ledger.get("b").status is Status.ABORTED
    assert ledger.get("b").error == TOO_LATE
    ledger.succeed(running, {}, {})
    ledger.create("c", Submission(model="codes", start_within_s=0.2))
    time.sleep(0.25)
    assert ledger.claim("w", 10) is None, (
        "no claim takes an overdue prediction before the sweep either"
    )
    assert ledger.sweep().aborted == ("c",)
    assert ledger.backlog() == 0


@pytest.mark.parametrize("kind", ["redis", "memory"])
def test_the_queue_is_bounded_by_predictions_and_by_bytes(
    kind: str, request: pytest.FixtureRequest
) -> None:
    ledger = limited(kind, request, QueueSettings(max_backlog=2, max_bytes=100))
    ledger.create(
        "large", Submission(model="codes"), size=500
    )  # alone, anything goes that a request may hold
    with pytest.raises(QueueFull, match="bytes"):
        ledger.create("a", Submission(model="codes"), size=1)
    ledger.cancel("large")
    ledger.create("a", Submission(model="codes"), size=60)
    ledger.check_capacity(40)
    with pytest.raises(QueueFull, match="bytes"):
        ledger.check_capacity(41)
    ledger.create("b", Submission(model="codes"), size=40)
    with pytest.raises(QueueFull, match="predictions"):
        ledger.check_capacity(0)
    with pytest.raises(QueueFull, match="predictions"):
        ledger.create("c", Submission(model="codes"))
    with pytest.raises(NotFound):
        ledger.get("c")
    assert ledger.create("a", Submission(model="codes"), size=60)[1] is False, (
        "a recorded prediction is not refused"
    )
    claim = ledger.claim("w", 10)
    assert claim is not None
    ledger.succeed(claim, {}, {})
    ledger.create("c", Submission(model="codes"), size=60)


def test_a_full_redis_refuses_new_predictions_and_finishes_accepted_ones(
    redis_client: "redis.Redis",
) -> None:
    ledger = RedisLedger(redis_client, QueueSettings(max_memory=0.8))
    claim = claimed(ledger)
    used = redis_client.info("memory")["used_memory"]
    redis_client.config_set("maxmemory", int(used / 0.9))
    try:
        time.sleep(0.6)
        with pytest.raises(QueueFull, match="memory"):
            ledger.check_capacity(0)
        ledger.succeed(claim, {"found": "x" * 1000}, {})
    finally:
        redis_client.config_set("maxmemory", 0)


@pytest.mark.parametrize("kind", ["redis", "memory"])
def test_a_predictions_own_deadline_is_never_later_than_the_queues(
    kind: str, request: pytest.FixtureRequest
) -> None:
    ledger = limited(kind, request, QueueSettings(start_within_s=100))
    ledger.create("a", Submission(model="codes", start_within_s=0.1))
    ledger.create("b", Submission(model="codes", start_within_s=3600))
    time.sleep(0.12)
    assert ledger.sweep().aborted == ("a",)
    ledger = limited(kind, request, QueueSettings(start_within_s=0.1))
    ledger.create("c", Submission(model="codes", start_within_s=3600))
    time.sleep(0.12)
    assert ledger.sweep().aborted == ("c",)


def test_keys_take_turns_to_beclaimed(ledger: Ledger) -> None:
    for number in range(6):
        ledger.create(f"flood-{number}", Submission(model="codes", key="flood"))
        time.sleep(0.001)
    for number in range(2):
        ledger.create(f"few-{number}", Submission(model="codes", key="few"))
        time.sleep(0.001)
    assert [
        ledger.count_ahead(name) for name in ("flood-0", "few-0", "flood-1", "few-1", "flood-5")
    ] == [0, 1, 2, 3, 7]
    order = []
    while claim := ledger.claim(uuid.uuid4().hex, 10):
        order.append(claim.prediction.id)
    assert order == [
        "flood-0",
        "few-0",
        "flood-1",
        "few-1",
        "flood-2",
        "flood-3",
        "flood-4",
        "flood-5",
    ]
    assert ledger.count_ahead("flood-0") is None


def test_higher_priorities_are_claimed_first_and_lower_ones_are_not_starved(ledger: Ledger) -> None:
    for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
        for number in range(20):
            ledger.create(f"{priority}-{number}", Submission(model="codes", priority=priority))
    assert ledger.count_ahead("high-0") == 0
    assert ledger.count_ahead("low-3") == 43
    order = [
        claim.prediction.priority
        for _ in range(20)
        if (claim := ledger.claim(uuid.uuid4().hex, 10))
    ]
    assert order[:4] == [Priority.HIGH] * 4
    assert [order.count(priority) for priority in Priority] == [16, 2, 2]
    assert ledger.backlog() == 60


def test_a_keys_backlog_is_bounded(ledger: Ledger) -> None:
    mine = Submission(model="codes", key="mine")
    ledger.create("a", mine, max_backlog=1)
    with pytest.raises(QueueFull, match="key"):
        ledger.check_capacity(0, "mine", 1)
    with pytest.raises(QueueFull, match="key"):
        ledger.create("b", mine, max_backlog=1)
    ledger.check_capacity(0, "other", 1)
    ledger.create("c", Submission(model="codes", key="other"), max_backlog=1)
    ledger.cancel("a")
    ledger.create("b", mine, max_backlog=1)


def test_the_load_counts_the_queue_its_workers_and_its_rate(ledger: Ledger) -> None:
    assert ledger.load()[:5] == (0, 0, 0, 0.0, 0.0)
    claim = claimed(ledger)
    ledger.create("b", Submission(model="codes"))
    ledger.heartbeat("w1", 30)
    ledger.heartbeat("w2", 0.01)
    time.sleep(0.02)
    load = ledger.load()
    assert load[:3] == (2, 1, 1)
    assert 0.01 < load.oldest_s < 60
    assert load.wait_s(0) is None
    ledger.succeed(claim, {}, {})
    time.sleep(2)  # the rate of a span that has just begun says nothing
    assert 0 < ledger.load().drain_rate_per_s <= 1
    assert ledger.load().live == 1


def test_the_load_counts_the_workers_that_lack_triton_or_the_images(ledger: Ledger) -> None:
    assert ledger.load().troubled == 0
    ledger.heartbeat("w1", 30, troubled=True)
    ledger.heartbeat("w2", 30)
    ledger.heartbeat("w3", 0.01, troubled=True)
    time.sleep(0.02)
    assert (ledger.load().workers, ledger.load().troubled) == (2, 1)
    ledger.heartbeat("w1", 30)
    assert (ledger.load().workers, ledger.load().troubled) == (2, 0)


def test_an_idle_queue_has_no_drain_rate(ledger: Ledger) -> None:
    """An idle queue's rate is its clients' own: a single client would be told to wait minutes."""
    ledger.succeed(claimed(ledger), {}, {})
    time.sleep(2)
    assert ledger.load().drain_rate_per_s == 0
    assert ledger.load().wait_s(0) is None
