"""What every store of webhook secrets does, the real one and the one in memory."""

import pytest
import redis

from sluice.delivery import Outcome, Result
from sluice.errors import Conflict
from sluice.settings import Webhooks
from sluice.webhooks.secrets import RedisSecrets, Secrets
from tests.contract.deliveries import make
from tests.fakes.deliveries import MemorySecrets


@pytest.fixture(params=["redis", "memory"])
def secrets(request: pytest.FixtureRequest) -> Secrets:
    return MemorySecrets() if request.param == "memory" else RedisSecrets(request.getfixturevalue("redis_client"), "detect")


def test_secrets(secrets: Secrets) -> None:
    (first,) = secrets.of("default")
    assert first.startswith("whsec_")
    assert secrets.of("default") == (first,)
    assert secrets.of("camera") != (first,)
    with pytest.raises(Conflict, match="no old"):
        secrets.retire("default")
    secrets.rotate("default")
    second, old = secrets.of("default")
    assert old == first != second
    with pytest.raises(Conflict, match="two"):
        secrets.rotate("default")
    secrets.retire("default")
    assert secrets.of("default") == (second,)
    secrets.rotate("new")
    assert len(secrets.of("new")) == 1


def test_a_claim_has_its_keys_secrets(redis_client: "redis.Redis", request: pytest.FixtureRequest) -> None:
    world = make("redis", request, Webhooks())
    secrets = RedisSecrets(redis_client, "detect")
    world.file("a", "completed", key="camera")
    (outgoing,) = world.claim()
    assert outgoing.secrets == ()
    world.deliveries.settle([Outcome(outgoing, Result.RETURNED)])
    held = secrets.of("camera")
    assert world.claim()[0].secrets == held
