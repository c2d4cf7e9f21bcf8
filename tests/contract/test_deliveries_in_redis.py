"""Deliveries in Redis: filed by the ledger's scripts, bounded in time, and counted for KEDA."""

import time

import pytest
import redis

from sluice.delivery import AttemptOutcome, AttemptResult, DeliveryAttempt, DeliveryStatus
from sluice.ledger.deliveries import RedisDeliveries
from sluice.ledger.predictions import RedisLedger
from sluice.ledger.record import from_record
from sluice.ledger.scripts import UNSEEN_S
from sluice.prediction import Problem, Status, Submission
from sluice.settings import QueueSettings, WebhooksSettings
from tests.support.deliveries import URL, file_delivery, make


def test_a_predictions_record_lives_until_the_delivery_stores_its_body(
    redis_client: "redis.Redis", request: pytest.FixtureRequest
) -> None:
    world = make("redis", request, WebhooksSettings())
    day = 24 * 3600
    for name, result in (("a", AttemptResult.DELIVERED), ("b", AttemptResult.FAILED)):
        world.record(f"prediction:{name}", f"https://{name}.example/", "", "default")
        redis_client.expire(f"{{default}}:prediction:{name}", day)
        redis_client.set(f"{{default}}:gone:{name}", "", ex=2 * day)
        world.file_(name, "completed", "prediction")
        assert UNSEEN_S - 5 <= redis_client.ttl(f"{{default}}:prediction:{name}") <= UNSEEN_S
        assert UNSEEN_S + day - 5 <= redis_client.ttl(f"{{default}}:gone:{name}") <= UNSEEN_S + day
        (outgoing,) = world.claim()
        world.settle(outgoing, result, delay_s=100)
        assert day - 5 <= redis_client.ttl(f"{{default}}:prediction:{name}") <= day


def test_a_record_whose_webhook_wants_only_starts_lives_until_the_body_is_stored(
    redis_client: "redis.Redis", request: pytest.FixtureRequest
) -> None:
    world = make("redis", request, WebhooksSettings())
    world.file("a", "start", events="start")
    redis_client.expire("{default}:prediction:a", 100)
    world.file_("a", "completed", "prediction")
    assert redis_client.ttl("{default}:prediction:a") > UNSEEN_S - 5
    (outgoing,) = world.claim()
    world.settle(outgoing, AttemptResult.DELIVERED)
    assert 95 <= redis_client.ttl("{default}:prediction:a") <= 100


def test_a_prediction_without_a_webhook_writes_no_key_of_a_delivery(
    redis_client: "redis.Redis",
) -> None:
    redis_client.hset("{default}:prediction:a", "model", "codes")
    file_delivery(redis_client, "prediction", "a", "completed")
    assert redis_client.keys("*") == [b"{default}:prediction:a"]


def test_after_settled_deliveries_only_records_with_a_time_to_live_are_left(
    redis_client: "redis.Redis", request: pytest.FixtureRequest
) -> None:
    world = make("redis", request, WebhooksSettings(retention_s=100, keep_s=200))
    for number, result in enumerate(
        (AttemptResult.DELIVERED, AttemptResult.FAILED, AttemptResult.GONE)
    ):
        world.file(str(number), "completed", f"https://{number}.example/")
        (outgoing,) = world.claim()
        world.settle(outgoing, result, delay_s=None)
        redis_client.delete(f"{{default}}:prediction:{number}")
    left = {name.decode().split(":")[1]: redis_client.ttl(name) for name in redis_client.keys("*")}
    assert left.pop("deliveries-dead") == -1
    assert set(left) == {"delivery", "delivery-log", "receiver", "endpoint-stopped"}
    assert all(ttl > 0 for ttl in left.values())
    assert redis_client.ttl("{default}:delivery:0_completed") <= 100
    assert 100 < redis_client.ttl("{default}:delivery:1_completed") <= 200


def test_the_sets_that_keda_counts_hold_due_deliveries_and_those_being_sent(
    redis_client: "redis.Redis", request: pytest.FixtureRequest
) -> None:
    """Neither a delivery that waits for a retry counts, nor one whose receiver is paused."""
    world = make("redis", request, WebhooksSettings(pause_after=2, first_pause_s=3))

    def counted() -> int:
        return int(redis_client.zcard("{default}:deliveries"))

    world.file("a", "completed")
    world.file("b", "completed")
    assert counted() == 2
    first, second = world.claim()
    assert counted() == 2
    world.settle(first, AttemptResult.FAILED, delay_s=3)
    assert counted() == 1
    world.file("c", "completed")
    world.settle(second, AttemptResult.FAILED, delay_s=100)
    assert counted() == 0
    world.file("d", "completed")
    assert counted() == 0
    assert redis_client.zcard("{default}:deliveries-open") == world.deliveries.waiting() == 4
    time.sleep(3.1)
    (probe,) = world.claim()
    assert counted() == 1
    world.settle(probe, AttemptResult.DELIVERED)
    world.file("e", "completed")
    assert counted() == 1


def test_an_output_that_is_too_long_is_left_out_of_the_delivery(
    redis_client: "redis.Redis", request: pytest.FixtureRequest
) -> None:
    world = make("redis", request, WebhooksSettings(max_output_bytes=10))
    world.file("a", "completed")
    redis_client.hset("{default}:prediction:a", "output", "x" * 10)
    (outgoing,) = world.claim()
    assert outgoing.source[b"output"] == b"x" * 10
    world.deliveries.settle([AttemptOutcome(outgoing, AttemptResult.NOT_ATTEMPTED)])
    redis_client.hset("{default}:prediction:a", "output", "x" * 11)
    (outgoing,) = world.claim()
    assert b"output" not in outgoing.source
    assert outgoing.source[b"output_left_out"] == b"1"
    assert outgoing.source[b"model"] == b"codes"


def test_a_filed_delivery_is_published(
    redis_client: "redis.Redis", request: pytest.FixtureRequest
) -> None:
    world = make("redis", request, WebhooksSettings())
    with redis_client.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe("{default}:deliveries-news")
        heard.get_message(timeout=1)
        world.file("a", "completed")
        assert heard.get_message(timeout=5) is not None


ASKED = Submission(model="codes", webhook=URL, key="camera", base_url="http://api")


def test_the_ledger_files_a_delivery_with_each_change_of_status(
    redis_client: "redis.Redis",
) -> None:
    ledger, deliveries = (
        RedisLedger(redis_client, QueueSettings()),
        RedisDeliveries(redis_client, "default", WebhooksSettings()),
    )

    def states(name: str) -> list[tuple[str, DeliveryStatus]]:
        return [
            (delivery.event, delivery.status)
            for delivery in deliveries.deliveries_for("prediction", name)
        ]

    ledger.create("a", ASKED)
    assert states("a") == []
    claim = ledger.claim("w1", 10)
    assert claim is not None
    assert states("a") == [("start", DeliveryStatus.WAITING)]
    (start,) = deliveries.claim("s", 10).outgoing
    assert start.delivery.key == "camera"
    ledger.requeue(claim, 0)
    claim = ledger.claim("w2", 10)
    assert claim is not None
    assert states("a") == [("start", DeliveryStatus.SENDING)], (
        "the start is delivered once, whatever the number of attempts"
    )
    ledger.succeed(claim, {"predictions": []}, {})
    assert states("a") == [("start", DeliveryStatus.SENDING), ("completed", DeliveryStatus.HELD)]
    said = DeliveryAttempt(at=start.at, duration_s=0.1, status=200)
    deliveries.settle([AttemptOutcome(start, AttemptResult.DELIVERED, said)])
    (end,) = deliveries.claim("s", 10).outgoing
    assert from_record("a", end.source).output == {"predictions": []}


@pytest.mark.parametrize("how", ["fail", "cancel", "abort", "lost"])
def test_every_kind_of_end_files_a_delivery(redis_client: "redis.Redis", how: str) -> None:
    limits = QueueSettings(
        start_within_s=0.05 if how == "abort" else 100, max_shared_lapses=1, max_lone_lapses=1
    )
    ledger, deliveries = (
        RedisLedger(redis_client, limits),
        RedisDeliveries(redis_client, "default", WebhooksSettings()),
    )
    ledger.create("a", ASKED.model_copy(update={"webhook_events": ("completed",)}))
    if how == "cancel":
        ledger.cancel("a")
    elif how == "abort":
        time.sleep(0.1)
        ledger.sweep()
    elif how == "fail":
        claim = ledger.claim("w", 10)
        assert claim is not None
        ledger.fail(claim, Problem(code="not_an_image", message="It is none."), {})
    else:
        for alone in (False, True):
            ledger.claim("w", -1, alone=alone)
            ledger.sweep()
    (outgoing,) = deliveries.claim("s", 10).outgoing
    assert outgoing.delivery.event == "completed"
    expected = {
        "fail": Status.FAILED,
        "cancel": Status.CANCELED,
        "abort": Status.ABORTED,
        "lost": Status.FAILED,
    }
    assert from_record("a", outgoing.source).status is expected[how]
