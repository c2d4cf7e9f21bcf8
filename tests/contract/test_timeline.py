"""The contract of `Timeline`, in Redis and in memory."""

from itertools import pairwise

import pytest
import redis

from sluice.ledger.predictions import Ledger, RedisLedger
from sluice.ledger.timeline import Ends, Minute, RedisTimeline, Timeline, minute_of
from sluice.prediction import Submission
from sluice.settings import QueueSettings
from tests.fakes.ledger import MemoryLedger
from tests.fakes.timeline import MemoryTimeline
from tests.support.dead_letters import let_die

Both = tuple[Ledger, Timeline]


@pytest.fixture
def both(kind: str, request: pytest.FixtureRequest) -> Both:
    """A ledger, and the timeline of its queue."""
    if kind == "memory":
        ledger = MemoryLedger()
        return ledger, MemoryTimeline(ledger)
    client, settings = request.getfixturevalue("redis_client"), QueueSettings()
    return RedisLedger(client, settings), RedisTimeline(client, settings)


def _sampled(timeline: Timeline) -> list[Minute]:
    """The minutes with samples: one, or two where a minute ended during the test."""
    return [minute for minute in timeline.read(3) if minute.backlog is not None]


def test_an_empty_timeline_has_minutes_without_samples(both: Both) -> None:
    minutes = both[1].read(60)
    assert len(minutes) == 60
    assert {minute.backlog for minute in minutes} == {None}
    steps = {after.at - before.at for before, after in pairwise(minutes)}
    assert steps == {60.0}


def test_counts_of_several_workers_are_added(both: Both) -> None:
    _, timeline = both
    fast, slow = Ends(failed=2), Ends()
    fast.add_success(0.01)
    slow.add_success(1e9)
    for ends in (fast, slow, Ends()):
        timeline.record(ends)
    minutes = _sampled(timeline)
    assert sum(minute.succeeded for minute in minutes) == 2
    assert sum(minute.failed for minute in minutes) == 2
    assert sum(minute.latencies[0] for minute in minutes) == 1
    assert sum(minute.latencies[-1] for minute in minutes) == 1


def test_a_minute_has_its_largest_backlog_and_its_last_workers(both: Both) -> None:
    ledger, timeline = both
    for name in ("a", "b"):
        ledger.create(name, Submission(model="codes"))
    ledger.heartbeat("w", 60)
    assert ledger.claim("w/1", 60)
    timeline.record(Ends())
    ledger.cancel("a")
    ledger.cancel("b")
    timeline.record(Ends())
    minutes = _sampled(timeline)
    assert max(minute.backlog or 0 for minute in minutes) == 2
    assert max(minute.processing or 0 for minute in minutes) == 1
    assert minutes[-1].workers == 1


def test_sweeps_count_what_they_end(redis_client: "redis.Redis") -> None:
    settings = QueueSettings(start_within_s=0.001)
    late = RedisLedger(redis_client, settings)
    late.create("late", Submission(model="codes"))
    ledger, timeline = (
        RedisLedger(redis_client, QueueSettings()),
        RedisTimeline(redis_client, settings),
    )
    while ledger.backlog():
        ledger.sweep()
    ledger.create("a", Submission(model="codes"))
    let_die(ledger, "a")
    minutes = timeline.read(3)
    assert sum(minute.aborted for minute in minutes) == 1
    assert sum(minute.failed for minute in minutes) == 1


def test_every_minute_expires(redis_client: "redis.Redis") -> None:
    RedisTimeline(redis_client, QueueSettings()).record(Ends(failed=1))
    names = redis_client.keys("{default}:timeline:*")
    assert names
    assert all(0 < redis_client.ttl(name) <= 7200 for name in names)


@pytest.mark.parametrize(
    ("latencies", "share", "expected"),
    [
        ([], 0.5, None),
        ([0.01], 0.5, 0.025),
        ([0.15] * 10, 0.5, 0.15),
        ([0.01] * 95 + [30.0] * 5, 0.95, 0.05),
        ([0.01] * 90 + [30.0] * 10, 0.95, 40.0),
        ([1e9], 0.5, 600.0),
    ],
)
def test_a_latency_is_estimated_within_its_bounds(
    latencies: list[float], share: float, expected: float | None
) -> None:
    ends = Ends()
    for latency_s in latencies:
        ends.add_success(latency_s)
    assert minute_of(0.0, ends.fields()).latency_s(share) == pytest.approx(expected)
