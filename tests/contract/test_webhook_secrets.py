"""The contract of `Secrets`, in Redis and in memory."""

import pytest
import redis

from sluice.delivery import AttemptOutcome, AttemptResult
from sluice.errors import Conflict
from sluice.settings import WebhooksSettings
from sluice.webhooks.secrets import RedisSecrets, Secrets
from tests.fakes.deliveries import MemorySecrets
from tests.support.deliveries import make


@pytest.fixture(params=["redis", "memory"])
def secrets(request: pytest.FixtureRequest) -> Secrets:
    return (
        MemorySecrets()
        if request.param == "memory"
        else RedisSecrets(request.getfixturevalue("redis_client"), "default")
    )


def test_a_key_has_one_secret_and_two_during_a_rotation(secrets: Secrets) -> None:
    (first,) = secrets.for_key("default")
    assert first.startswith("whsec_")
    assert secrets.for_key("default") == (first,)
    assert secrets.for_key("camera") != (first,)
    with pytest.raises(Conflict, match="no old"):
        secrets.retire("default")
    secrets.rotate("default")
    second, old = secrets.for_key("default")
    assert old == first != second
    with pytest.raises(Conflict, match="two"):
        secrets.rotate("default")
    secrets.retire("default")
    assert secrets.for_key("default") == (second,)
    secrets.rotate("new")
    assert len(secrets.for_key("new")) == 1


def test_a_claimed_delivery_carries_the_secrets_of_its_key(
    redis_client: "redis.Redis", request: pytest.FixtureRequest
) -> None:
    world = make("redis", request, WebhooksSettings())
    secrets = RedisSecrets(redis_client, "default")
    world.file("a", "completed", key="camera")
    (outgoing,) = world.claim()
    assert outgoing.secrets == ()
    world.deliveries.settle([AttemptOutcome(outgoing, AttemptResult.NOT_ATTEMPTED)])
    camera_secrets = secrets.for_key("camera")
    assert world.claim()[0].secrets == camera_secrets
