"""Random calls to both stores of deliveries; they agree, and the invariants hold in Redis."""

import uuid
from collections.abc import Callable

import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from sluice.delivery import AttemptOutcome, AttemptResult, DeliveryAttempt, OutgoingDelivery
from sluice.errors import SluiceError
from sluice.ledger.deliveries import Deliveries, RedisDeliveries
from sluice.settings import WebhooksSettings
from tests.fakes.deliveries import SETTLED, MemoryDeliveries
from tests.support.deliveries import RECORD, file_delivery

LIMITS = WebhooksSettings(
    max_per_receiver=2,
    pause_after=3,
    first_pause_s=1000,
    longest_pause_s=5000,
    max_logged=3,
    max_dead=3,
)
NAMES = "abcd"
URLS = ("https://x.example/1", "https://x.example/2", "https://y.example/1?q=1")
Pair = tuple[OutgoingDelivery, OutgoingDelivery]


class BothStores(RuleBasedStateMachine):
    client: "redis.Redis"
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.client.flushall()
        self.real = RedisDeliveries(self.client, "default", LIMITS)
        self.model = MemoryDeliveries(LIMITS)

    def _same(self, call: Callable[[Deliveries], object]) -> None:
        answers = []
        for store in (self.real, self.model):
            try:
                answers.append(call(store))
            except SluiceError as error:
                answers.append(type(error))
        assert answers[0] == answers[1]

    @rule(
        name=st.sampled_from(NAMES),
        event=st.sampled_from(["start", "completed", "completed"]),
        url=st.sampled_from(URLS),
    )
    def file(self, name: str, event: str, url: str) -> None:
        """File an event: one start for each prediction, before its end, with the same URL."""
        filed = {
            delivery.event: delivery for delivery in self.model.deliveries_for("prediction", name)
        }
        if event in filed or "completed" in filed:
            return
        url = next((delivery.url for delivery in filed.values()), url)
        fields = {
            "webhook": url,
            "key": "default",
            **{field.decode(): value for field, value in RECORD.items()},
        }
        self.client.hset(f"{{default}}:prediction:{name}", mapping=fields)
        file_delivery(self.client, "prediction", name, event)
        self.model.records[name] = RECORD
        self.model.file(name, event, url)

    @rule(target=claims)
    def claim(self) -> object:
        """Claim all that is due: the order of receivers depends on the clock."""
        owner = uuid.uuid4().hex
        found, model = (
            {out.delivery.id: out for out in store.claim(owner, 10).outgoing}
            for store in (self.real, self.model)
        )
        assert found.keys() == model.keys()
        assert [out.body for _, out in sorted(found.items())] == [
            out.body for _, out in sorted(model.items())
        ]
        return multiple(*((found[name], model[name]) for name in found))

    @rule(
        pair=claims,
        result=st.sampled_from(AttemptResult),
        delay_s=st.sampled_from([0.0, 0.0, 1000.0, None]),
    )
    def settle(self, pair: Pair, result: AttemptResult, delay_s: float | None) -> None:
        said = DeliveryAttempt(
            at=1, duration_s=0.1, status=200 if result is AttemptResult.DELIVERED else 500
        )
        real, model = (
            AttemptOutcome(outgoing, result, said, b"body", delay_s) for outgoing in pair
        )
        assert self.real.settle([real]) == self.model.settle([model])

    @rule()
    def sweep(self) -> None:
        self._same(lambda store: store.sweep())

    @rule(name=st.sampled_from(NAMES), event=st.sampled_from(["start", "completed"]))
    def redeliver(self, name: str, event: str) -> None:
        self._same(lambda store: store.redeliver(f"{name}_{event}").status)

    @invariant()
    def same_records(self) -> None:
        for name in NAMES:
            self._same(
                lambda store, name=name: sorted(
                    map(_shape, store.deliveries_for("prediction", name)), key=str
                )
            )
        self._same(lambda store: store.waiting())

    @invariant()
    def a_start_is_never_sent_after_an_end(self) -> None:
        for name in NAMES:
            status = {
                delivery.event: delivery.status
                for delivery in self.real.deliveries_for("prediction", name)
            }
            assert not (status.get("start") in ("waiting", "held") and "completed" in status), name
            assert not (
                status.get("start") == "sending" and status.get("completed", "held") != "held"
            ), name

    @invariant()
    def the_sets_agree_with_the_records(self) -> None:
        every = [
            delivery for name in NAMES for delivery in self.real.deliveries_for("prediction", name)
        ]
        by_status = {
            status: {d.id for d in every if d.status == status}
            for status in ("waiting", "held", "sending")
        }
        assert self._members("deliveries-open") == set().union(*by_status.values())
        assert self._members("deliveries-sending") == by_status["sending"]
        ready = {
            name for key in self._keys("receiver-ready") for name in self.client.zrange(key, 0, -1)
        }
        busy = {
            name for key in self._keys("receiver-sending") for name in self.client.smembers(key)
        }
        assert {name.decode() for name in ready} == by_status["waiting"]
        assert {name.decode() for name in busy} == by_status["sending"]
        assert self._members("deliveries") <= by_status["waiting"] | by_status["sending"]
        assert self._members("deliveries") >= by_status["sending"]
        for delivery in every:
            assert self.client.ttl(f"{{default}}:delivery:{delivery.id}") > 0
            assert (delivery.status in SETTLED) is (
                delivery.id not in self._members("deliveries-open")
            )

    def _members(self, name: str) -> set[str]:
        return {member.decode() for member in self.client.zrange(f"{{default}}:{name}", 0, -1)}

    def _keys(self, kind: str) -> list[bytes]:
        return list(self.client.keys(f"{{default}}:{kind}:*"))


def _shape(delivery: object) -> object:
    """A delivery without its times, which two clocks can't share."""
    fields = delivery.model_dump()  # type: ignore[attr-defined]
    fields["log"] = [attempt["status"] for attempt in fields["log"]]
    fields["due"] = fields["due"] is not None
    del fields["created_at"]
    return fields


def test_random_calls_give_the_same_answers_from_both_stores_of_deliveries(
    redis_client: "redis.Redis",
) -> None:
    BothStores.client = redis_client
    run_state_machine_as_test(
        BothStores, settings=settings(max_examples=40, stateful_step_count=30)
    )
