"""The deliveries as they are in Redis: filed by the ledger's scripts, each record with its end, and counted for KEDA."""

import time

import pytest
import redis

from sluice.delivery import AttemptOutcome, AttemptResult, DeliveryAttempt, DeliveryStatus
from sluice.ledger.deliveries import RedisDeliveries
from sluice.ledger.delivery_scripts import UNSEEN_S
from sluice.ledger.predictions import RedisLedger
from sluice.ledger.record import from_record
from sluice.prediction import Problem, Status, Submission
from sluice.settings import QueueSettings, WebhooksSettings
from tests.support.deliveries import FILER, URL, make


def test_the_record_lives_until_the_body_is_stored(
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


def test_only_a_start_was_asked_for_and_its_record_lives_too(
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


def test_without_a_webhook_nothing_is_stored(redis_client: "redis.Redis") -> None:
    redis_client.hset("{default}:prediction:a", "model", "codes")
    redis_client.register_script(FILER)(args=["{default}", "a", "completed", "prediction"])
    assert redis_client.keys("*") == [b"{default}:prediction:a"]


def test_everything_ends(redis_client: "redis.Redis", request: pytest.FixtureRequest) -> None:
    """Settled, only records are left, and each has a time to live."""
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


def test_what_keda_counts(redis_client: "redis.Redis", request: pytest.FixtureRequest) -> None:
    """What is due or being sent; not what waits for a retry, nor what waits for a receiver that is paused."""
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


def test_a_long_output_is_left_out(
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


def test_news_are_told(redis_client: "redis.Redis", request: pytest.FixtureRequest) -> None:
    world = make("redis", request, WebhooksSettings())
    with redis_client.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe("{default}:deliveries-news")
        heard.get_message(timeout=1)
        world.file("a", "completed")
        assert heard.get_message(timeout=5) is not None


ASKED = Submission(model="codes", webhook=URL, key="camera", base_url="http://api")


def test_the_ledger_files_each_event_with_its_status(redis_client: "redis.Redis") -> None:
    ledger, deliveries = (
        RedisLedger(redis_client, QueueSettings()),
        RedisDeliveries(redis_client, "default", WebhooksSettings()),
    )

    def states(name: str) -> list[tuple[str, DeliveryStatus]]:
        return [
            (found.event, found.status) for found in deliveries.deliveries_for("prediction", name)
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
        "it starts once, however often it is tried"
    )
    ledger.succeed(claim, {"predictions": []}, {})
    assert states("a") == [("start", DeliveryStatus.SENDING), ("completed", DeliveryStatus.HELD)]
    said = DeliveryAttempt(at=start.at, duration_s=0.1, status=200)
    deliveries.settle([AttemptOutcome(start, AttemptResult.DELIVERED, said)])
    (end,) = deliveries.claim("s", 10).outgoing
    assert from_record("a", end.source).output == {"predictions": []}


@pytest.mark.parametrize("how", ["fail", "cancel", "abort", "lost"])
def test_every_end_is_filed(redis_client: "redis.Redis", how: str) -> None:
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
