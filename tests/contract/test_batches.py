"""The contract of `Batches`, in Redis and in memory; then their events and expiry in Redis."""

import json
import time
from typing import Any

import pytest
import redis

from sluice.batch import Batch, BatchSubmission, ItemError
from sluice.errors import Conflict, Gone, IdReused, NotFound, RedisUnavailable
from sluice.ledger.batches import RedisBatches
from sluice.ledger.deliveries import RedisDeliveries
from sluice.ledger.predictions import RedisLedger
from sluice.prediction import Problem, Status, Submission
from sluice.resources import BatchAnswer
from sluice.settings import QueueSettings, WebhooksSettings
from sluice.webhooks.payload import event_body
from tests.fakes.batches import MemoryBatches
from tests.fakes.ledger import MemoryLedger
from tests.support.batches import Both

SETTINGS = QueueSettings(batch_idle_s=1000, retention_s=100, tombstone_s=50)
REFUSED = ItemError(index=1, name="b.jpg", code="not_an_image", detail="it is none")


class DyingRedis(redis.Redis):
    """The client of a process that dies after its first script."""

    _dead = False

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if self._dead:
            raise redis.exceptions.ConnectionError("the process is dead")
        answer = super().execute_command(*args, **options)
        self._dead = args[0] == "EVALSHA"
        return answer


def _make(kind: str, request: pytest.FixtureRequest, settings: QueueSettings) -> Both:
    if kind == "memory":
        ledger = MemoryLedger(settings)
        return Both(ledger, MemoryBatches(ledger))
    client = request.getfixturevalue("redis_client")
    return Both(RedisLedger(client, settings), RedisBatches(client, settings))


@pytest.fixture
def both(kind: str, request: pytest.FixtureRequest) -> Both:
    return _make(kind, request, SETTINGS)


@pytest.fixture
def real(redis_client: "redis.Redis") -> Both:
    return Both(RedisLedger(redis_client, SETTINGS), RedisBatches(redis_client, SETTINGS))


def test_a_batch_is_kept_as_it_was_submitted_for_its_own_key(both: Both) -> None:
    submission = BatchSubmission(
        model="codes",
        total=2,
        key="mine",
        metadata={"a": [1]},
        webhook="https://example.com",
        webhook_events=("start", "completed"),
        base_url="http://here",
    )
    opened = both.batches.open("b", submission)
    assert opened == both.batches.get("b", "mine")
    assert opened == Batch(
        id="b", created_at=opened.created_at, counts=dict.fromkeys(Status, 0), **dict(submission)
    )
    assert (opened.status, opened.completed_at) == (Status.STARTING, None)
    for wrong in (("b", "other"), ("c", None)):
        with pytest.raises(NotFound):
            both.batches.get(*wrong)
        with pytest.raises(NotFound):
            both.batches.cancel(*wrong)


def test_a_batchs_counts_and_status_follow_its_predictions(both: Both) -> None:
    both.open(3)
    both.add(0, 2)
    assert both.counts() == {"starting": 2}
    claim = both.ledger.claim("w", 10)
    assert claim is not None
    assert both.counts() == {"starting": 1, "processing": 1}
    assert both.batches.get("b").status is Status.PROCESSING
    both.ledger.requeue(claim, 0)
    assert both.counts() == {"starting": 2}
    both.finish(1)
    sealed = both.batches.seal("b", [REFUSED])
    assert (sealed.status, sealed.completed_at, sealed.errors) == (
        Status.PROCESSING,
        None,
        (REFUSED,),
    )
    claim = both.ledger.claim("w2", 10)
    assert claim is not None
    both.ledger.fail(claim, Problem(code="worker_lost", message="gone"), {})
    ended = both.batches.get("b")
    assert both.counts() == {"succeeded": 1, "failed": 1}
    assert ended.status is Status.SUCCEEDED, "failures show in the counts alone"
    assert ended.completed_at is not None
    assert [prediction.id for prediction in both.batches.predictions(ended, 0, 10)] == [
        "b-0",
        "b-2",
    ]


def test_a_batch_does_not_end_before_it_is_sealed(both: Both) -> None:
    both.open(2)
    both.add(0)
    both.finish(1)
    assert both.batches.get("b").completed_at is None
    both.add(1)
    assert both.batches.seal("b").completed_at is None
    both.finish(1)
    assert both.batches.get("b").completed_at is not None


def test_a_batch_without_predictions_ends_when_it_is_sealed(both: Both) -> None:
    both.open(1)
    ended = both.batches.seal("b", [ItemError(index=0, code="not_an_image", detail="é")])
    assert ended.completed_at is not None
    assert ended.errors[0].detail == "é"


def test_predictions_outside_a_batch_do_not_change_its_counts(both: Both) -> None:
    both.open(1)
    both.add(0)
    both.open(1, "c")
    both.add(0, batch_id="c")
    both.ledger.create("single", Submission(model="codes"))
    both.ledger.cancel("c-0")
    both.ledger.cancel("single")
    assert both.counts() == {"starting": 1}
    assert both.counts("c") == {"canceled": 1}


def test_submitting_a_batch_again_continues_it_until_its_end(both: Both) -> None:
    first = both.open(3)
    both.add(0)
    both.batches.seal("b", [REFUSED])
    assert both.open(3).created_at == first.created_at
    both.finish(1)
    assert both.batches.get("b").completed_at is None, "the batch was opened again"
    both.add(0, 1)
    assert both.counts() == {"succeeded": 1, "starting": 1}
    assert both.batches.seal("b", [REFUSED]).errors == (), "the refused image has a prediction now"
    both.finish(1)
    ended = both.batches.get("b")
    assert ended.completed_at is not None
    assert both.open(3) == ended, "the end is final"
    with pytest.raises(IdReused):
        both.batches.open("b", BatchSubmission(model="codes", total=3), "other")


def test_an_ended_or_unknown_batch_takes_no_predictions(both: Both) -> None:
    with pytest.raises(Conflict):
        both.add(0)
    both.open(2)
    both.add(0)
    both.batches.seal("b")
    both.finish(1)
    with pytest.raises(Conflict):
        both.add(1)
    assert both.ledger.backlog() == 0
    assert both.counts() == {"succeeded": 1}


def test_canceling_a_batch_cancels_its_live_predictions_and_ends_it(both: Both) -> None:
    both.open(250)
    both.add(*range(240))
    both.finish(2)
    claim = both.ledger.claim("w", 10)
    assert claim is not None
    canceled = both.batches.cancel("b")
    assert sorted(canceled) == sorted((f"b-{index}", "d") for index in range(2, 240))
    assert both.counts() == {"succeeded": 2, "canceled": 238}
    ended = both.batches.get("b")
    assert ended.status is Status.CANCELED
    assert ended.completed_at is not None
    assert both.ledger.get("b-2").canceled_from is Status.PROCESSING
    assert both.ledger.get("b-3").canceled_from is Status.STARTING
    assert both.ledger.claim("w2", 10) is None
    assert both.ledger.backlog() == 0
    with pytest.raises(Conflict):
        both.batches.cancel("b")
    with pytest.raises(Conflict):
        both.add(240)
    assert both.batches.seal("b", [REFUSED]).completed_at == ended.completed_at


def test_an_empty_batch_ends_when_it_is_canceled(both: Both) -> None:
    both.open(3)
    assert both.batches.cancel("b") == []
    assert both.batches.get("b").status is Status.CANCELED


def test_the_sweep_seals_an_idle_batch_and_forgets_an_empty_one(
    kind: str, request: pytest.FixtureRequest
) -> None:
    both = _make(kind, request, QueueSettings(batch_idle_s=0.1))
    both.open(3)
    both.add(0)
    both.open(3, "empty")
    time.sleep(0.15)
    both.ledger.sweep()
    both.finish(1)
    ended = both.batches.get("b")
    assert (ended.status, ended.total) == (Status.SUCCEEDED, 3)
    with pytest.raises(NotFound):
        both.batches.get("empty")


def test_the_sweep_does_not_seal_a_batch_that_was_renewed_by_a_prediction(
    kind: str, request: pytest.FixtureRequest
) -> None:
    both = _make(kind, request, QueueSettings(batch_idle_s=0.1))
    both.open(3)
    if kind == "memory":
        assert isinstance(both.ledger, MemoryLedger)
        both.ledger.settings = SETTINGS
    else:
        both = _make(kind, request, SETTINGS)
    both.open(3, "empty")
    both.add(1)
    time.sleep(0.15)
    both.ledger.sweep()
    assert both.batches.get("empty").status is Status.STARTING
    both.finish(1)
    assert both.batches.get("b").completed_at is None, "a new prediction renews the batch"


def test_a_batchs_predictions_are_read_in_pages(both: Both) -> None:
    both.open(12)
    both.add(*range(0, 12, 2))
    batch = both.batches.get("b")
    assert [prediction.id for prediction in both.batches.predictions(batch, 2, 5)] == [
        "b-2",
        "b-4",
        "b-6",
    ]
    assert [prediction.id for prediction in both.batches.predictions(batch, 9, 5)] == ["b-10"]
    assert both.batches.predictions(batch, 12, 5) == []


def test_a_single_prediction_with_an_id_like_an_items_is_no_part_of_the_batch(both: Both) -> None:
    """A caller may name a single prediction as it likes."""
    both.open(2)
    both.ledger.create("b-1", Submission(model="codes"), "d2")
    both.add(0)
    batch = both.batches.seal("b", [REFUSED])
    assert [prediction.id for prediction in both.batches.predictions(batch, 0, 9)] == ["b-0"]
    assert batch.errors == (REFUSED,)
    both.batches.cancel("b")
    assert both.ledger.get("b-1").status is Status.STARTING


def test_a_batchs_end_is_published_and_delivered_once_and_its_record_expires(
    real: Both, redis_client: "redis.Redis"
) -> None:
    deliveries = RedisDeliveries(redis_client, "default", WebhooksSettings())
    with redis_client.pubsub(ignore_subscribe_messages=True) as subscription:
        subscription.subscribe("{default}:events")
        subscription.get_message(timeout=1)
        real.open(2, webhook="https://example.com/hook")
        assert redis_client.ttl("{default}:batch:b") == -1
        real.add(0, 1)
        real.batches.seal("b", [ItemError(index=0, code="x", detail="it came in all the same")])
        assert redis_client.zcard("{default}:batches") == 0
        real.finish(1)
        assert deliveries.deliveries_for("batch", "b") == []
        real.finish(1)
        real.batches.seal("b")
        real.ledger.sweep()
        events = []
        while message := subscription.get_message(timeout=1):
            events.append(message["data"].decode())
    assert events.count("b succeeded") == 1
    assert [
        (delivery.id, delivery.event) for delivery in deliveries.deliveries_for("batch", "b")
    ] == [("b_batch_completed", "completed")]
    assert deliveries.deliveries_for("prediction", "b-0") == []
    claimed = deliveries.claim("s", 5).outgoing
    assert [delivery.delivery.subject_id for delivery in claimed] == ["b"]
    body = json.loads(event_body(claimed[0].delivery, claimed[0].source, "http://here"))
    assert body["type"] == "batch.completed"
    assert body["data"] == BatchAnswer.from_batch(real.batches.get("b"), "http://here").model_dump(
        mode="json"
    )
    assert (body["data"]["counts"]["succeeded"], body["data"]["errors"]) == (2, [])
    # A delivery needs the record for as long as a receiver may be unavailable.
    assert redis_client.ttl("{default}:batch:b") > 100
    assert redis_client.ttl("{default}:gone:batch:b") > redis_client.ttl("{default}:batch:b")


def test_a_batch_whose_webhook_wants_only_starts_has_no_delivery(
    real: Both, redis_client: "redis.Redis"
) -> None:
    submission = BatchSubmission(
        model="codes", total=1, webhook="https://example.com", webhook_events=("start",)
    )
    real.batches.open("b", submission)
    real.batches.seal("b")
    assert (
        RedisDeliveries(redis_client, "default", WebhooksSettings()).deliveries_for("batch", "b")
        == []
    )


def test_after_its_retention_a_batch_is_gone(real: Both, redis_client: "redis.Redis") -> None:
    real.open(1, key="mine")
    real.batches.seal("b")
    assert 0 < redis_client.ttl("{default}:batch:b") <= 100
    assert 100 < redis_client.ttl("{default}:gone:batch:b") <= 150
    redis_client.delete("{default}:batch:b")
    for again in (
        lambda: real.batches.get("b", "mine"),
        lambda: real.batches.cancel("b"),
        lambda: real.open(1, key="mine"),
    ):
        with pytest.raises(Gone):
            again()
    with pytest.raises(NotFound):
        real.batches.get("b", "other")


def test_the_sweep_finishes_a_cancel_that_broke_off(
    real: Both, redis_client: "redis.Redis"
) -> None:
    real.open(251)
    real.add(*range(250))
    dying = DyingRedis(connection_pool=redis_client.connection_pool)
    with pytest.raises(RedisUnavailable):
        RedisBatches(dying, SETTINGS).cancel("b")
    assert real.counts() == {"starting": 151, "canceled": 99}
    with pytest.raises(Conflict):
        real.add(250)
    assert real.open(251).completed_at is None
    assert real.ledger.get("b-0").status is Status.STARTING
    real.ledger.sweep()
    real.ledger.sweep()
    assert real.counts() == {"canceled": 250}
    assert real.batches.get("b").status is Status.CANCELED
    assert redis_client.zcard("{default}:batches") == 0


def test_deadlines_and_dead_letters_count_as_ends_of_a_batchs_predictions(real: Both) -> None:
    real.open(2)
    real.ledger.create("b-0", Submission(model="codes", batch="b", start_within_s=0.01), "d")
    time.sleep(0.02)
    real.ledger.sweep()
    real.add(1)
    for alone in (False, False, True):
        assert real.ledger.claim(f"w{time.monotonic_ns()}", -1, alone=alone)
        real.ledger.sweep()
    assert real.counts() == {"aborted": 1, "failed": 1}
    assert real.batches.seal("b").completed_at is not None


def test_a_single_prediction_writes_no_key_of_a_batch(
    real: Both, redis_client: "redis.Redis"
) -> None:
    real.ledger.create("a", Submission(model="codes"))
    real.finish(1)
    assert not [key for key in redis_client.keys("*") if b"batch" in key]
