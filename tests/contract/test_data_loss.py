"""A Redis that was emptied, or replaced by another one, is noticed by each process of before."""

import logging

import pytest
import redis

from sluice.delivery import AttemptOutcome, AttemptResult, DeliveryAttempt
from sluice.errors import LeaseLost, NotFound
from sluice.ledger.deliveries import RedisDeliveries
from sluice.ledger.predictions import RedisLedger
from sluice.prediction import Problem, Submission
from sluice.redisio.data_loss import DataWatch
from sluice.redisio.health import examine
from sluice.redisio.names import Names
from sluice.settings import QueueSettings, WebhooksSettings
from tests.fakes.blobs import MemoryBlobs
from tests.fakes.doorbell import CountingDoorbell
from worker.rounds import sweep_round

NAMES = Names("default")
SUBMISSION = Submission(
    model="codes", webhook="http://example.com/hook", webhook_events=("start", "completed")
)


def test_a_loss_is_an_error_in_each_log_and_a_warning_for_an_hour(
    redis_client: "redis.Redis", caplog: pytest.LogCaptureFixture
) -> None:
    ledger = RedisLedger(redis_client, QueueSettings())
    first, second = DataWatch(redis_client, NAMES), DataWatch(redis_client, NAMES)
    for name in ("a", "b"):
        ledger.create(name, SUBMISSION)
    ledger.claim("worker", 60)
    for watch in (first, second, first, second):
        watch.look()
    assert caplog.records == []
    assert examine(redis_client, NAMES).warnings == ()
    redis_client.flushall()
    for watch in (first, second, first, second, DataWatch(redis_client, NAMES)):
        watch.look()
    words = "2 predictions that waited or ran and 1 webhooks that were due are gone"
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    counts = "predictions=2 webhooks=1"
    assert all(record.message.endswith(counts) for record in caplog.records)
    (warning,) = examine(redis_client, NAMES).warnings
    assert words in warning
    assert 3500 < redis_client.ttl(NAMES.loss) <= 3600


def test_what_vanished_ends_without_a_loop(redis_client: "redis.Redis") -> None:
    ledger = RedisLedger(redis_client, QueueSettings())
    deliveries = RedisDeliveries(redis_client, "default", WebhooksSettings())
    ledger.create("a", SUBMISSION)
    claim = ledger.claim("worker", 60)
    assert claim
    (outgoing,) = deliveries.claim("sender", 10).outgoing
    redis_client.flushall()
    for write in (
        lambda: ledger.renew(claim, 60),
        lambda: ledger.succeed(claim, {}, {}),
        lambda: ledger.fail(claim, Problem(code="internal", message="x"), {}),
        lambda: ledger.requeue(claim, 0),
    ):
        with pytest.raises(LeaseLost):
            write()
    with pytest.raises(NotFound):
        ledger.get("a")
    attempt = DeliveryAttempt(at=1.0, duration_s=0.1, status=200, error=None, answer="")
    outcome = AttemptOutcome(outgoing, AttemptResult.DELIVERED, attempt)
    assert list(deliveries.settle([outcome])) == [False]
    swept = sweep_round(ledger, MemoryBlobs(), CountingDoorbell(), 60)
    assert (swept.due, swept.remaining, ledger.backlog()) == (0, 0, 0)
    assert deliveries.claim("sender", 10).outgoing == ()
    assert redis_client.keys() == []
