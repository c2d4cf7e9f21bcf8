"""The contract of `Ledger`, in Redis and in memory, and random calls with equal answers."""

import time
import uuid
from collections.abc import Callable, Iterator

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from sluice.errors import (
    Conflict,
    Gone,
    IdReused,
    LeaseLost,
    NotFound,
    OutputTooLarge,
    QueueFull,
    SluiceError,
)
from sluice.ledger.predictions import TOO_LATE, WORKER_LOST, Ledger, RedisLedger, Swept
from sluice.prediction import TRANSITIONS, Claim, Parameters, Priority, Problem, Status, Submission
from sluice.settings import QueueSettings
from tests.fakes.ledger import MemoryLedger

# Each step comes one lapse earlier than by default, so that random calls reach it.
SETTINGS = QueueSettings(max_shared_lapses=2, max_lone_lapses=2, max_backlog=3, max_bytes=250)
PROBLEM = Problem(code="not_an_image", message="It is none.")


@pytest.fixture(params=["redis", "memory"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    if request.param == "memory":
        return MemoryLedger()
    return RedisLedger(request.getfixturevalue("redis_client"), QueueSettings())


def test_a_created_prediction_can_be_read(ledger: Ledger) -> None:
    parameters = Parameters(confidence=0.5, classes=("qr_code", 2), visualize=True)
    created, made, waiting = ledger.create(
        "a", Submission(model="codes", parameters=parameters), "d1", 100
    )
    assert (made, waiting) == (True, 1)
    assert created.digest == "d1"
    assert created.status is Status.STARTING
    assert created.parameters == parameters
    assert abs(created.created_at - time.time()) < 60
    assert ledger.get("a") == created
    assert ledger.backlog() == 1


def test_an_id_belongs_to_one_submission(ledger: Ledger) -> None:
    first, *_ = ledger.create("a", Submission(model="codes"), "d1")
    assert ledger.create("a", Submission(model="codes"), "d1") == (first, False, 0)
    with pytest.raises(IdReused):
        ledger.create("a", Submission(model="codes"), "d2")
    assert ledger.backlog() == 1
    claim = ledger.claim("w", 10)
    assert claim is not None
    ledger.succeed(claim, {}, {})
    assert ledger.create("a", Submission(model="codes"), "d1") == (ledger.get("a"), False, 0)
    assert ledger.claim("w", 10) is None


def test_an_unknown_prediction_is_not_found(ledger: Ledger) -> None:
    with pytest.raises(NotFound):
        ledger.get("nobody")


def test_predictions_are_claimed_once_in_the_order_of_their_creation(ledger: Ledger) -> None:
    for name in "abc":
        ledger.create(name, Submission(model="codes"))
        time.sleep(0.002)
    claims = [ledger.claim(f"w{i}", 10) for i in range(4)]
    assert [claim and claim.prediction.id for claim in claims] == ["a", "b", "c", None]
    first = claims[0]
    assert first is not None
    assert first.prediction.status is Status.PROCESSING
    assert first.prediction.attempts == 1
    assert first.prediction.started_at is not None
    assert ledger.backlog() == 3


def test_a_prediction_that_succeeds_keeps_its_output_and_metrics(ledger: Ledger) -> None:
    claim = _claimed(ledger)
    ledger.succeed(claim, {"predictions": [{"x": 1.5, "class": "é"}]}, {"predict_time": 0.25})
    ended = ledger.get("a")
    assert ended.status is Status.SUCCEEDED
    assert ended.output == {"predictions": [{"x": 1.5, "class": "é"}]}
    assert ended.metrics == {"predict_time": 0.25}
    assert ended.completed_at is not None
    assert ended.completed_at >= (ended.started_at or 0) >= ended.created_at
    assert ledger.backlog() == 0


@pytest.mark.parametrize("kind", ["redis", "memory"])
def test_an_output_that_is_too_large_is_refused(kind: str, request: pytest.FixtureRequest) -> None:
    ledger = _limited(kind, request, QueueSettings(max_output_bytes=1000))
    claim = _claimed(ledger)
    with pytest.raises(OutputTooLarge, match="fewer detections"):
        ledger.succeed(claim, {"found": "x" * 1000}, {})
    assert ledger.get("a").status is Status.PROCESSING
    ledger.succeed(claim, {"found": "x" * 900}, {})


def test_a_prediction_that_fails_keeps_its_error(ledger: Ledger) -> None:
    ledger.fail(_claimed(ledger), PROBLEM, {})
    assert ledger.get("a").status is Status.FAILED
    assert ledger.get("a").error == PROBLEM
    assert ledger.backlog() == 0


def test_a_terminal_status_is_final(ledger: Ledger) -> None:
    claim = _claimed(ledger)
    ledger.succeed(claim, {}, {})
    before = ledger.get("a")
    for again in _every_way_to_move(ledger, claim):
        with pytest.raises(LeaseLost):
            again()
    assert ledger.get("a") == before
    assert ledger.claim("w2", 10) is None


def test_an_owner_whose_claim_was_requeued_changes_nothing(ledger: Ledger) -> None:
    stale = _claimed(ledger)
    ledger.requeue(stale, 0)
    fresh = ledger.claim("w2", 10)
    assert fresh is not None
    assert fresh.prediction.attempts == 2
    for late in _every_way_to_move(ledger, stale):
        with pytest.raises(LeaseLost):
            late()
    assert ledger.get("a").status is Status.PROCESSING
    ledger.succeed(fresh, {"by": "w2"}, {})
    assert ledger.get("a").output == {"by": "w2"}


def test_a_requeued_prediction_can_be_claimed_after_its_delay(ledger: Ledger) -> None:
    ledger.requeue(_claimed(ledger), 100)
    assert ledger.get("a").status is Status.STARTING
    assert ledger.claim("w2", 10) is None
    assert ledger.sweep().due == 0
    assert ledger.backlog() == 1
    ledger.cancel("a")
    ledger.create("b", Submission(model="codes"))
    claim = ledger.claim("w3", 10)
    assert claim is not None
    ledger.requeue(claim, 0.3)
    time.sleep(0.35)
    assert ledger.sweep().due == 1
    assert ledger.claim("w4", 10) is not None


def test_a_prediction_whose_lease_lapses_is_queued_again_then_runs_alone_then_is_a_dead_letter(
    ledger: Ledger,
) -> None:
    ledger.create("a", Submission(model="codes"))
    assert _lapse(ledger) == Swept(("a",), (), (), 1, 0)
    assert _lapse(ledger) == Swept(("a",), (), (), 0, 1)
    assert ledger.claim("w", 10) is None, "the prediction must run alone now"
    assert ledger.dead() == []
    assert _lapse(ledger, alone=True) == Swept((), ("a",), (), 0, 0)
    ended = ledger.get("a")
    assert ended.status is Status.FAILED
    assert ended.error == WORKER_LOST
    assert ended.attempts == 3
    assert ledger.dead() == [ended]
    assert ledger.backlog() == 0


def test_every_sweep_names_a_dead_letter_until_its_image_is_kept(ledger: Ledger) -> None:
    ledger.create("a", Submission(model="codes"))
    for alone in (False, False, True):
        _lapse(ledger, alone=alone)
    assert ledger.sweep() == Swept((), ("a",), (), 0, 0), (
        "the keeper of the sweep before may have died since"
    )
    ledger.mark_image_kept("a")
    assert ledger.sweep() == Swept((), (), (), 0, 0)
    ledger.mark_image_kept("a")  # the second of two keepers


def test_a_sweep_does_a_bounded_amount_and_says_what_remains(redis_client: "redis.Redis") -> None:
    ledger = RedisLedger(redis_client, QueueSettings(start_within_s=0.5))
    for number in range(130):
        ledger.create(f"lapses-{number}", Submission(model="codes"))
        assert ledger.claim(uuid.uuid4().hex, -1) is not None
    for number in range(120):
        ledger.create(f"waits-{number}", Submission(model="codes", start_within_s=0.001))
    time.sleep(0.01)
    first, second = ledger.sweep(), ledger.sweep()
    assert (len(first.requeued), len(first.aborted), first.remaining) == (100, 100, 50)
    assert (len(second.requeued), second.remaining) == (30, 0)


def test_a_prediction_that_survives_its_run_alone_succeeds(ledger: Ledger) -> None:
    ledger.create("a", Submission(model="codes"))
    _lapse(ledger)
    _lapse(ledger)
    claim = ledger.claim("w", 10, alone=True)
    assert claim is not None
    ledger.succeed(claim, {"found": 1}, {})
    assert ledger.get("a").status is Status.SUCCEEDED
    assert ledger.dead() == []


def test_a_prediction_that_must_run_alone_does_so_after_a_retry_too(ledger: Ledger) -> None:
    ledger.create("a", Submission(model="codes"))
    _lapse(ledger)
    _lapse(ledger)
    claim = ledger.claim("w", 10, alone=True)
    assert claim is not None
    ledger.requeue(claim, 0)
    assert ledger.claim("w", 10) is None
    assert ledger.claim("w", 10, alone=True) is not None


def test_an_owner_whose_lease_lapsed_changes_nothing(ledger: Ledger) -> None:
    ledger.create("a", Submission(model="codes"))
    claim = ledger.claim("w1", -1)
    assert claim is not None
    ledger.sweep()
    with pytest.raises(LeaseLost):
        ledger.succeed(claim, {}, {})
    assert ledger.get("a").status is Status.STARTING


def test_a_queued_prediction_can_be_canceled(ledger: Ledger) -> None:
    ledger.create("a", Submission(model="codes"))
    canceled = ledger.cancel("a")
    assert canceled.status is Status.CANCELED
    assert canceled.completed_at is not None
    assert canceled == ledger.get("a")
    assert ledger.claim("w", 10) is None
    assert ledger.backlog() == 0


def test_a_running_prediction_can_be_canceled_and_its_owner_loses_the_lease(ledger: Ledger) -> None:
    claim = _claimed(ledger)
    assert ledger.cancel("a").status is Status.CANCELED
    for late in _every_way_to_move(ledger, claim):
        with pytest.raises(LeaseLost):
            late()
    assert ledger.get("a").output is None
    assert ledger.sweep() == Swept((), (), (), 0, 0)


def test_an_ended_or_unknown_prediction_cannot_be_canceled(ledger: Ledger) -> None:
    ledger.fail(_claimed(ledger), PROBLEM, {})
    with pytest.raises(Conflict, match="ended"):
        ledger.cancel("a")
    assert ledger.get("a").status is Status.FAILED
    with pytest.raises(NotFound):
        ledger.cancel("b")


def test_retries_are_counted_and_a_claim_that_is_returned_is_not(ledger: Ledger) -> None:
    ledger.requeue(_claimed(ledger), 0)
    assert ledger.get("a").retries == 1
    claim = ledger.claim("w", 10)
    assert claim is not None
    assert claim.prediction.retries == 1
    ledger.requeue(claim, 0, retry=False)
    assert ledger.get("a").retries == 1


def _limited(kind: str, request: pytest.FixtureRequest, limits: QueueSettings) -> Ledger:
    return (
        MemoryLedger(limits)
        if kind == "memory"
        else RedisLedger(request.getfixturevalue("redis_client"), limits)
    )


@pytest.mark.parametrize("kind", ["redis", "memory"])
def test_a_prediction_that_did_not_start_before_its_deadline_is_aborted(
    kind: str, request: pytest.FixtureRequest
) -> None:
    ledger = _limited(kind, request, QueueSettings())
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
    ledger = _limited(kind, request, QueueSettings(max_backlog=2, max_bytes=100))
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
    claim = _claimed(ledger)
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
    ledger = _limited(kind, request, QueueSettings(start_within_s=100))
    ledger.create("a", Submission(model="codes", start_within_s=0.1))
    ledger.create("b", Submission(model="codes", start_within_s=3600))
    time.sleep(0.12)
    assert ledger.sweep().aborted == ("a",)
    ledger = _limited(kind, request, QueueSettings(start_within_s=0.1))
    ledger.create("c", Submission(model="codes", start_within_s=3600))
    time.sleep(0.12)
    assert ledger.sweep().aborted == ("c",)


def test_keys_take_turns_to_be_claimed(ledger: Ledger) -> None:
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


def test_another_keys_prediction_is_unknown(ledger: Ledger) -> None:
    ledger.create("a", Submission(model="codes", key="mine"))
    assert ledger.get("a", "mine").id == "a"
    with pytest.raises(NotFound):
        ledger.get("a", "other")
    with pytest.raises(NotFound):
        ledger.cancel("a", "other")
    assert ledger.cancel("a", "mine").status is Status.CANCELED


def test_every_field_of_a_submission_is_on_record(ledger: Ledger) -> None:
    submission = Submission(
        model="codes",
        key="mine",
        priority=Priority.LOW,
        metadata={"line": [1, "ä"]},
        image_url="https://example.com/a.jpg?sig=1",
        start_within_s=2.5,
        webhook="https://example.com/hook",
        webhook_events=("start", "completed"),
        base_url="https://sluice.example.com",
    )
    created, *_ = ledger.create("a", submission, "d")
    assert created == ledger.get("a")
    assert {name: getattr(created, name) for name in dict(submission)} == dict(submission)


def test_logs_have_a_line_for_each_attempt(ledger: Ledger) -> None:
    ledger.requeue(_claimed(ledger), 0, logs="attempt 1: Triton is away")
    assert ledger.claim("w2", -1) is not None
    ledger.sweep()
    claim = ledger.claim("w3", 10)
    assert claim is not None
    ledger.succeed(claim, {}, {}, logs="attempt 3: done")
    assert (
        ledger.get("a").logs
        == "attempt 1: Triton is away\nattempt 2: its worker fell silent\nattempt 3: done\n"
    )


def test_the_load_counts_the_queue_its_workers_and_its_rate(ledger: Ledger) -> None:
    assert ledger.load()[:5] == (0, 0, 0, 0.0, 0.0)
    claim = _claimed(ledger)
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


def test_an_idle_queue_has_no_drain_rate(ledger: Ledger) -> None:
    """An idle queue's rate is its clients' own: a single client would be told to wait minutes."""
    ledger.succeed(_claimed(ledger), {}, {})
    time.sleep(2)
    assert ledger.load().drain_rate_per_s == 0
    assert ledger.load().wait_s(0) is None


def test_a_renewed_lease_does_not_lapse(ledger: Ledger) -> None:
    ledger.create("a", Submission(model="codes"))
    claim = ledger.claim("w1", 0.05)
    assert claim is not None
    ledger.renew(claim, 30)
    time.sleep(0.1)
    assert ledger.sweep() == Swept((), (), (), 0, 0)
    ledger.succeed(claim, {}, {})


def test_records_expire_after_their_end_and_not_before(redis_client: "redis.Redis") -> None:
    ledger = RedisLedger(redis_client, QueueSettings(retention_s=4, tombstone_s=60))
    claim = _claimed(ledger)
    assert redis_client.ttl("{default}:prediction:a") == -1
    ledger.succeed(claim, {}, {})
    names = [name.decode().removeprefix("{default}:") for name in redis_client.keys("*")]
    ended = [name for name in names if name.startswith("ended:")]
    assert sorted(names) == sorted(
        ["gone:a", "prediction:a", "index:default", "expiring", *ended]
    ), "no other Redis key is left"
    assert all(redis_client.ttl(f"{{default}}:{name}") > 0 for name in names)
    assert 4 < redis_client.ttl("{default}:gone:a") <= 64
    time.sleep(4.1)
    with pytest.raises(Gone):
        ledger.get("a")
    with pytest.raises(NotFound):
        ledger.get("a", "another")
    ledger.sweep()
    assert not redis_client.exists("{default}:index:default", "{default}:expiring")
    with pytest.raises(Gone):
        ledger.create("a", Submission(model="codes"))
    redis_client.delete("{default}:gone:a")
    with pytest.raises(NotFound):
        ledger.get("a")


def test_dead_letters_are_bounded(redis_client: "redis.Redis") -> None:
    ledger = RedisLedger(
        redis_client,
        QueueSettings(max_shared_lapses=1, max_lone_lapses=1, max_dead=2, dead_retention_s=100),
    )
    for name in "abc":
        ledger.create(name, Submission(model="codes"))
        _lapse(ledger)
        _lapse(ledger, alone=True)
    ledger.sweep()
    assert [letter.id for letter in ledger.dead()] == ["c", "b"]
    assert ledger.sweep().dead == ("b", "c")
    assert 0 < redis_client.ttl("{default}:prediction:c") <= 100


def test_a_queue_entry_without_a_record_is_dropped(redis_client: "redis.Redis") -> None:
    ledger = RedisLedger(redis_client, QueueSettings())
    for name in ("ready:normal:default", "delayed", "alone", "deadlines", "live"):
        redis_client.zadd(f"{{default}}:{name}", {"ghost": 0})
    redis_client.zadd("{default}:turns:normal", {"default": 0})
    for name in ("leases", "live"):
        redis_client.zadd(f"{{default}}:{name}", {"shade": 0})
    ledger.create("a", Submission(model="codes"))
    ledger.sweep()
    assert ledger.claim("w0", 10, alone=True) is None
    claim = ledger.claim("w1", 10)
    assert claim is not None
    assert claim.prediction.id == "a"
    assert ledger.backlog() == 1
    assert redis_client.keys("*alone") == redis_client.keys("*deadlines") == []


def _lapse(ledger: Ledger, *, alone: bool = False) -> Swept:
    """Let a worker claim a prediction and die; returns the sweep's result."""
    assert ledger.claim(uuid.uuid4().hex, -1, alone=alone) is not None
    return ledger.sweep()


def _claimed(ledger: Ledger) -> Claim:
    ledger.create("a", Submission(model="codes"))
    claim = ledger.claim("w1", 10)
    assert claim is not None
    return claim


def _every_way_to_move(ledger: Ledger, claim: Claim) -> Iterator[Callable[[], None]]:
    yield lambda: ledger.succeed(claim, {"late": True}, {})
    yield lambda: ledger.fail(claim, PROBLEM, {})
    yield lambda: ledger.requeue(claim, 0)
    yield lambda: ledger.renew(claim, 10)


class BothLedgers(RuleBasedStateMachine):
    """Random calls to both ledgers: the answers agree, and every change is in the table."""

    client: "redis.Redis"
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.client.flushall()
        self.real = RedisLedger(self.client, SETTINGS)
        self.model = MemoryLedger(SETTINGS)
        self.seen: dict[str, Status] = {}

    def _same(self, call: Callable[[Ledger], object]) -> object:
        answers = []
        for ledger in (self.real, self.model):
            try:
                answers.append(call(ledger))
            except SluiceError as error:
                answers.append(type(error))
        real, model = (_shape(answer) for answer in answers)
        assert real == model
        return answers[0]

    @rule(
        name=st.sampled_from("abcd"),
        mark=st.sampled_from(["d1", "d1", "d2"]),
        key=st.sampled_from(["k1", "k2"]),
        priority=st.sampled_from(Priority),
    )
    def create(self, name: str, mark: str, key: str, priority: Priority) -> None:
        submission = Submission(model="codes", key=key, priority=priority)
        self._same(lambda ledger: ledger.create(name, submission, mark, 100, max_backlog=2))

    @rule(target=claims, lease_s=st.sampled_from([-1.0, -1.0, 100.0]), alone=st.booleans())
    def claim(self, lease_s: float, alone: bool) -> object:
        owner = uuid.uuid4().hex
        return self._same(lambda ledger: ledger.claim(owner, lease_s, alone=alone))

    @rule(name=st.sampled_from("abcd"))
    def cancel(self, name: str) -> None:
        self._same(lambda ledger: ledger.cancel(name))

    @rule(claim=claims, how=st.sampled_from(["succeed", "fail", "requeue", "renew"]))
    def finish(self, claim: Claim | None, how: str) -> None:
        if claim is None:
            return
        calls: dict[str, Callable[[Ledger], None]] = {
            "succeed": lambda ledger: ledger.succeed(claim, {"by": claim.owner}, {}),
            "fail": lambda ledger: ledger.fail(claim, PROBLEM, {}),
            "requeue": lambda ledger: ledger.requeue(claim, 0),
            "renew": lambda ledger: ledger.renew(claim, 100),
        }
        self._same(calls[how])

    @rule()
    def sweep(self) -> None:
        self._same(lambda ledger: tuple(map(_sorted, ledger.sweep())))

    @rule(name=st.sampled_from("abcd"))
    def mark_image_kept(self, name: str) -> None:
        self._same(lambda ledger: ledger.mark_image_kept(name))

    @invariant()
    def same_records(self) -> None:
        for name in "abcd":
            self._same(lambda ledger, name=name: ledger.get(name))
            if self.seen.get(name) is Status.STARTING:
                self._same(lambda ledger, name=name: ledger.count_ahead(name))
        self._same(lambda ledger: ledger.backlog())
        self._same(lambda ledger: [letter.id for letter in ledger.dead()])

    @invariant()
    def an_end_stays(self) -> None:
        for name, before in list(self.seen.items()):
            now = self.real.get(name).status
            assert now == before or not before.terminal
        for name in "abcd":
            try:
                self.seen[name] = self.real.get(name).status
            except NotFound:
                continue

    @invariant()
    def the_sets_agree_with_the_records(self) -> None:
        live = {x.decode() for x in self.client.zrange("{default}:live", 0, -1)}
        waiting = [*self.client.keys("{default}:ready:*"), b"{default}:delayed", b"{default}:alone"]
        queued = {x.decode() for name in waiting for x in self.client.zrange(name, 0, -1)}
        turns = {
            b"ready:" + b":".join((name.removeprefix(b"{default}:turns:"), key))
            for name in self.client.keys("{default}:turns:*")
            for key in self.client.zrange(name, 0, -1)
        }
        deadlines = {x.decode() for x in self.client.zrange("{default}:deadlines", 0, -1)}
        leased = {x.decode() for x in self.client.zrange("{default}:leases", 0, -1)}
        assert live == {name for name, status in self.seen.items() if not status.terminal}
        assert queued == {name for name, status in self.seen.items() if status is Status.STARTING}
        assert deadlines == queued
        assert turns == {
            name.removeprefix(b"{default}:") for name in self.client.keys("{default}:ready:*")
        }
        assert sum(int(count) for count in self.client.hvals("{default}:backlogs")) == len(live)
        assert int(self.client.get("{default}:bytes") or 0) == 100 * len(live)
        assert leased == {name for name, status in self.seen.items() if status is Status.PROCESSING}


def _sorted(value: object) -> object:
    return sorted(value) if isinstance(value, tuple) else value


def _shape(answer: object) -> object:
    """An answer without times, which two clocks can't share."""
    if isinstance(answer, tuple) and answer and hasattr(answer[0], "model_dump"):
        return tuple(map(_shape, answer))
    if isinstance(answer, Claim):
        return ("claim", answer.owner, _shape(answer.prediction))
    if hasattr(answer, "model_dump"):
        return {
            name: value for name, value in answer.model_dump().items() if not name.endswith("_at")
        }
    return answer


def test_random_calls_give_the_same_answers_from_both_ledgers(redis_client: "redis.Redis") -> None:
    BothLedgers.client = redis_client
    run_state_machine_as_test(
        BothLedgers, settings=settings(max_examples=40, stateful_step_count=25)
    )


def test_the_transition_table_names_every_status() -> None:
    assert set(TRANSITIONS) == set(Status)
