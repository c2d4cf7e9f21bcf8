"""Random calls to both stores of batches must get equal answers."""

from collections.abc import Callable
from functools import partial

import hypothesis
import redis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from sluice.batch import ItemError
from sluice.errors import SluiceError
from sluice.ledger.batches import RedisBatches
from sluice.ledger.predictions import RedisLedger
from sluice.prediction import Claim, Status
from sluice.settings import QueueSettings
from tests.fakes.batches import MemoryBatches
from tests.fakes.ledger import MemoryLedger
from tests.support.batches import Both


class _BatchMachine(RuleBasedStateMachine):
    """Random calls to both stores. The answers agree, and the counts are the predictions' own."""

    names = st.sampled_from(["x", "y"])
    indexes = st.integers(0, 3)
    client: "redis.Redis"

    def __init__(self) -> None:
        super().__init__()
        self.client.flushall()
        settings = QueueSettings(max_shared_lapses=1)
        memory = MemoryLedger(settings)
        self.both = (
            Both(RedisLedger(self.client, settings), RedisBatches(self.client, settings)),
            Both(memory, MemoryBatches(memory)),
        )
        self.claims: tuple[list[Claim], list[Claim]] = ([], [])
        self.number = 0

    def _same(self, call: Callable[[int, Both], object]) -> None:
        answers = []
        for at, both in enumerate(self.both):
            try:
                answers.append(call(at, both))
            except SluiceError as error:
                answers.append(type(error))
        assert answers[0] == answers[1]

    @rule(name=names)
    def open(self, name: str) -> None:
        self._same(lambda _, both: both.open(4, name).status)

    @rule(name=names, index=indexes)
    def add(self, name: str, index: int) -> None:
        self._same(lambda _, both: both.add(index, batch_id=name))

    @rule(name=names, index=indexes)
    def seal(self, name: str, index: int) -> None:
        errors = [ItemError(index=index, code="x", detail="x")]
        self._same(lambda _, both: both.batches.seal(name, errors).errors)

    @rule(name=names)
    def cancel_batch(self, name: str) -> None:
        self._same(lambda _, both: sorted(both.batches.cancel(name)))

    @rule(name=names, index=indexes)
    def cancel_one(self, name: str, index: int) -> None:
        self._same(lambda _, both: both.ledger.cancel(f"{name}-{index}").status)

    @rule(lease_s=st.sampled_from([-1.0, 100.0]), alone=st.booleans())
    def claim(self, lease_s: float, alone: bool) -> None:
        self.number += 1

        def call(at: int, both: Both) -> object:
            claim = both.ledger.claim(f"w{self.number}", lease_s, alone=alone)
            if claim:
                self.claims[at].append(claim)
            return claim and claim.prediction.id

        self._same(call)

    @rule(which=st.integers(0, 5), succeeds=st.booleans())
    def end(self, which: int, succeeds: bool) -> None:
        def call(at: int, both: Both) -> None:
            if which < len(self.claims[at]):
                claim = self.claims[at][which]
                both.ledger.succeed(claim, {}, {}) if succeeds else both.ledger.requeue(claim, 0)

        self._same(call)

    @rule()
    def sweep(self) -> None:
        self._same(lambda _, both: [sorted(ids) for ids in both.ledger.sweep()[:3]])

    @invariant()
    def they_agree(self) -> None:
        for name in ("x", "y"):
            self._same(partial(_look, name))


def _look(name: str, _: int, both: Both) -> object:
    batch = both.batches.get(name)
    items = both.batches.predictions(batch, 0, 4)
    assert batch.counts == {
        status: sum(prediction.status is status for prediction in items) for status in Status
    }
    ended = batch.completed_at is not None
    assert not (ended and batch.counts[Status.STARTING] + batch.counts[Status.PROCESSING])
    return (
        batch.status,
        batch.counts,
        ended,
        batch.canceled,
        batch.errors,
        [prediction.id for prediction in items],
    )


def test_random_calls_give_the_same_answers_from_both_stores(redis_client: "redis.Redis") -> None:
    machine = type("Machine", (_BatchMachine,), {"client": redis_client})
    run_state_machine_as_test(
        machine, settings=hypothesis.settings(max_examples=40, stateful_step_count=30)
    )
