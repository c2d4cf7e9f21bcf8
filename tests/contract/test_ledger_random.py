"""Random calls to both ledgers must get equal answers."""

import uuid
from collections.abc import Callable

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

from sluice.errors import NotFound, SluiceError
from sluice.ledger.predictions import Ledger, RedisLedger
from sluice.prediction import Claim, Priority, Status, Submission
from sluice.settings import QueueSettings
from tests.fakes.ledger import MemoryLedger
from tests.support.ledgers import PROBLEM

# Each step comes one lapse earlier than by default, so that random calls reach it.
SETTINGS = QueueSettings(max_shared_lapses=2, max_lone_lapses=2, max_backlog=3, max_bytes=250)


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
