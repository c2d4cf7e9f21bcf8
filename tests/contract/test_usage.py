"""Counting the queued and running predictions of one model, in a real Redis."""

import redis

from sluice.ledger.predictions import RedisLedger
from sluice.ledger.usage import RedisUsage
from sluice.prediction import Submission
from sluice.settings import QueueSettings


def test_queued_and_running_predictions_of_the_model_are_counted(
    redis_client: "redis.Redis",
) -> None:
    ledger = RedisLedger(redis_client, QueueSettings())
    usage = RedisUsage(redis_client, QueueSettings().name)
    assert usage.count("m") == 0
    for number in range(1200):  # more than one answer of a scan
        ledger.create(f"m{number}", Submission(model="m"))
    for number in range(3):
        ledger.create(f"other{number}", Submission(model="other"))
    assert (usage.count("m"), usage.count("other"), usage.count("none")) == (1200, 3, 0)
    claim = ledger.claim("owner", 30)
    assert claim is not None
    assert claim.prediction.model == "m", "the oldest runs first"
    assert usage.count("m") == 1200
    ledger.succeed(claim, {}, {})
    ledger.cancel("other2")
    assert (usage.count("m"), usage.count("other")) == (1199, 2)
