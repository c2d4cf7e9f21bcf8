"""What every ledger does, the real one and the one in memory; and random calls that neither may answer differently."""

import time
import uuid
from collections.abc import Callable, Iterator

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from sluice.errors import Conflict, LeaseLost, NotFound, SluiceError
from sluice.ledger import WORKER_LOST, Ledger, RedisLedger
from sluice.prediction import TRANSITIONS, Claim, Parameters, Problem, Status
from tests.fakes import MemoryLedger

PROBLEM = Problem(code="not_an_image", message="It is none.")


@pytest.fixture(params=["redis", "memory"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    if request.param == "memory":
        return MemoryLedger()
    return RedisLedger(request.getfixturevalue("redis_client"), "detect", retention_s=60)


def test_create_and_get(ledger: Ledger) -> None:
    asked = Parameters(confidence=0.5, classes=("qr_code", 2), visualize=True)
    created = ledger.create("a", "codes", asked)
    assert created.status is Status.STARTING
    assert created.parameters == asked
    assert abs(created.created_at - time.time()) < 60
    assert ledger.get("a") == created
    assert ledger.backlog() == 1


def test_an_id_is_taken_once(ledger: Ledger) -> None:
    ledger.create("a", "codes", Parameters())
    with pytest.raises(Conflict):
        ledger.create("a", "other", Parameters())
    assert ledger.get("a").model == "codes"


def test_unknown(ledger: Ledger) -> None:
    with pytest.raises(NotFound):
        ledger.get("nobody")


def test_claims_come_in_order_and_once(ledger: Ledger) -> None:
    for name in "abc":
        ledger.create(name, "codes", Parameters())
        time.sleep(0.002)
    claims = [ledger.claim(f"w{i}", 10) for i in range(4)]
    assert [claim and claim.prediction.id for claim in claims] == ["a", "b", "c", None]
    first = claims[0]
    assert first is not None
    assert first.prediction.status is Status.PROCESSING
    assert first.prediction.attempts == 1
    assert first.prediction.started_at is not None
    assert ledger.backlog() == 3


def test_succeed(ledger: Ledger) -> None:
    claim = _claimed(ledger)
    ledger.succeed(claim, {"predictions": [{"x": 1.5, "class": "é"}]}, {"predict_time": 0.25})
    ended = ledger.get("a")
    assert ended.status is Status.SUCCEEDED
    assert ended.output == {"predictions": [{"x": 1.5, "class": "é"}]}
    assert ended.metrics == {"predict_time": 0.25}
    assert ended.completed_at is not None
    assert ended.completed_at >= (ended.started_at or 0) >= ended.created_at
    assert ledger.backlog() == 0


def test_fail(ledger: Ledger) -> None:
    ledger.fail(_claimed(ledger), PROBLEM, {})
    assert ledger.get("a").status is Status.FAILED
    assert ledger.get("a").error == PROBLEM
    assert ledger.backlog() == 0


def test_an_end_is_final(ledger: Ledger) -> None:
    claim = _claimed(ledger)
    ledger.succeed(claim, {}, {})
    before = ledger.get("a")
    for again in _every_way_to_move(ledger, claim):
        with pytest.raises(LeaseLost):
            again()
    assert ledger.get("a") == before
    assert ledger.claim("w2", 10) is None


def test_a_stale_owner_changes_nothing(ledger: Ledger) -> None:
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


def test_requeue_waits_its_delay(ledger: Ledger) -> None:
    ledger.requeue(_claimed(ledger), 0.3)
    assert ledger.get("a").status is Status.STARTING
    assert ledger.claim("w2", 10) is None
    assert ledger.sweep(3).due == 0
    assert ledger.backlog() == 1
    time.sleep(0.35)
    assert ledger.sweep(3).due == 1
    assert ledger.claim("w2", 10) is not None


def test_a_lapsed_lease_is_queued_again_until_it_is_enough(ledger: Ledger) -> None:
    ledger.create("a", "codes", Parameters())
    claim = ledger.claim("w1", 0.05)
    assert claim is not None
    time.sleep(0.1)
    assert ledger.sweep(2) == (("a",), (), 1)
    with pytest.raises(LeaseLost):
        ledger.succeed(claim, {}, {})
    assert ledger.claim("w2", 0.05) is not None
    time.sleep(0.1)
    assert ledger.sweep(2) == ((), ("a",), 0)
    assert ledger.get("a").status is Status.FAILED
    assert ledger.get("a").error == WORKER_LOST
    assert ledger.sweep(2) == ((), (), 0)
    assert ledger.backlog() == 0


def test_a_renewed_lease_does_not_lapse(ledger: Ledger) -> None:
    ledger.create("a", "codes", Parameters())
    claim = ledger.claim("w1", 0.05)
    assert claim is not None
    ledger.renew(claim, 30)
    time.sleep(0.1)
    assert ledger.sweep(3) == ((), (), 0)
    ledger.succeed(claim, {}, {})


def test_records_expire_after_their_end_and_not_before(redis_client: "redis.Redis") -> None:
    ledger = RedisLedger(redis_client, "detect", retention_s=60)
    claim = _claimed(ledger)
    assert redis_client.ttl("{detect}:prediction:a") == -1
    ledger.succeed(claim, {}, {})
    assert 0 < redis_client.ttl("{detect}:prediction:a") <= 60
    assert redis_client.keys("*") == [b"{detect}:prediction:a"]


def test_an_entry_without_a_record_is_dropped(redis_client: "redis.Redis") -> None:
    ledger = RedisLedger(redis_client, "detect", retention_s=60)
    redis_client.zadd("{detect}:queued", {"ghost": 0})
    redis_client.zadd("{detect}:leases", {"shade": 0})
    redis_client.zadd("{detect}:live", {"ghost": 0, "shade": 0})
    ledger.create("a", "codes", Parameters())
    assert ledger.sweep(3) == ((), (), 2)
    claim = ledger.claim("w1", 10)
    assert claim is not None
    assert claim.prediction.id == "a"
    assert ledger.backlog() == 1


def _claimed(ledger: Ledger) -> Claim:
    ledger.create("a", "codes", Parameters())
    claim = ledger.claim("w1", 10)
    assert claim is not None
    return claim


def _every_way_to_move(ledger: Ledger, claim: Claim) -> Iterator[Callable[[], None]]:
    yield lambda: ledger.succeed(claim, {"late": True}, {})
    yield lambda: ledger.fail(claim, PROBLEM, {})
    yield lambda: ledger.requeue(claim, 0)
    yield lambda: ledger.renew(claim, 10)


class BothLedgers(RuleBasedStateMachine):
    """The same calls on the real ledger and the one in memory: the same answers, and no way outside the table."""

    client: "redis.Redis"
    ids = Bundle("ids")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.client.flushall()
        self.real = RedisLedger(self.client, "detect", retention_s=60)
        self.model = MemoryLedger()
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

    @rule(target=ids, name=st.sampled_from("abcd"))
    def create(self, name: str) -> str:
        self._same(lambda ledger: ledger.create(name, "codes", Parameters()))
        return name

    @rule(target=claims, lease_s=st.sampled_from([-1.0, 100.0]))
    def claim(self, lease_s: float) -> object:
        owner = uuid.uuid4().hex
        return self._same(lambda ledger: ledger.claim(owner, lease_s))

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

    @rule(max_lapses=st.integers(1, 3))
    def sweep(self, max_lapses: int) -> None:
        self._same(lambda ledger: tuple(map(_sorted, ledger.sweep(max_lapses))))

    @invariant()
    def same_records(self) -> None:
        for name in "abcd":
            self._same(lambda ledger, name=name: ledger.get(name))
        self._same(lambda ledger: ledger.backlog())

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
        live = {x.decode() for x in self.client.zrange("{detect}:live", 0, -1)}
        queued = {x.decode() for x in self.client.zrange("{detect}:queued", 0, -1)}
        leased = {x.decode() for x in self.client.zrange("{detect}:leases", 0, -1)}
        assert live == {name for name, status in self.seen.items() if not status.terminal}
        assert queued == {name for name, status in self.seen.items() if status is Status.STARTING}
        assert leased == {name for name, status in self.seen.items() if status is Status.PROCESSING}


def _sorted(value: object) -> object:
    return sorted(value) if isinstance(value, tuple) else value


def _shape(answer: object) -> object:
    """An answer without its times, which two clocks can't share."""
    if isinstance(answer, Claim):
        return ("claim", answer.owner, _shape(answer.prediction))
    if hasattr(answer, "model_dump"):
        return {name: value for name, value in answer.model_dump().items() if not name.endswith("_at")}
    return answer


def test_random_calls(redis_client: "redis.Redis") -> None:
    BothLedgers.client = redis_client
    run_state_machine_as_test(BothLedgers, settings=settings(max_examples=40, stateful_step_count=25))


def test_the_table_names_every_status() -> None:
    assert set(TRANSITIONS) == set(Status)
