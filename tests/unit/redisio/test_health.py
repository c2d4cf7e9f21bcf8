"""The examination of a Redis that refuses some of what Sluice needs, for real."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from sluice.ledger.predictions import RedisLedger
from sluice.prediction import Status, Submission
from sluice.redisio import connection
from sluice.redisio.health import Health, HealthWatch, examine, without_addresses
from sluice.redisio.names import Names
from sluice.settings import QueueSettings, RedisAddress
from tests.support.servers import redis_server

NAMES = Names("default")


@pytest.fixture
def admin(tmp_path: Path) -> Iterator["redis.Redis"]:
    with redis_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        yield client


def user(admin: "redis.Redis", *rules: str) -> "redis.Redis":
    """A client whose user has these rules."""
    admin.execute_command("ACL", "SETUSER", "app", "reset", "on", ">pw", *rules)
    port = admin.connection_pool.connection_kwargs["port"]
    return connection.connect(RedisAddress(port=port, username="app", password="pw"))


def test_a_plain_redis_is_healthy(admin: "redis.Redis") -> None:
    assert examine(admin, NAMES) == Health()


def test_a_user_without_channels_is_told_the_rule(admin: "redis.Redis") -> None:
    client = user(admin, "~*", "+@all", "resetchannels")
    (fault,) = examine(client, NAMES).faults
    assert "refuses to publish" in fault
    assert "'&{default}:*'" in fault
    admin.execute_command("ACL", "SETUSER", "app", "&{default}:*")
    assert examine(client, NAMES) == Health()


def test_a_prediction_runs_and_ends_although_the_user_may_not_publish(
    admin: "redis.Redis",
) -> None:
    """No script may stop in its middle, with half of a change made."""
    client = user(admin, "~*", "+@all", "resetchannels")
    ledger = RedisLedger(client, QueueSettings())
    ledger.create("a", Submission(model="codes"))
    claim = ledger.claim("worker", 30)
    assert claim is not None
    assert claim.prediction.status is Status.PROCESSING
    ledger.succeed(claim, {}, {}, "")
    assert ledger.get("a").status is Status.SUCCEEDED


def test_without_info_work_goes_on(admin: "redis.Redis") -> None:
    client = user(admin, "~*", "&*", "+@all", "-info")
    health = examine(client, NAMES)
    assert health.faults == ()
    assert "refuses INFO" in health.warnings[0]
    ledger = RedisLedger(client, QueueSettings())
    ledger.check_capacity(1)
    ledger.create("a", Submission(model="codes"))


def test_a_redis_that_takes_no_writes_is_a_fault(admin: "redis.Redis") -> None:
    admin.config_set("min-replicas-to-write", 1)
    (fault,) = examine(admin, NAMES).faults
    assert "refuses to write" in fault
    assert "NOREPLICAS" in fault
    admin.config_set("min-replicas-to-write", 0)
    assert examine(admin, NAMES) == Health()


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_redis_that_evicts_is_a_warning(admin: "redis.Redis", policy: str) -> None:
    admin.config_set("maxmemory-policy", policy)
    health = examine(admin, NAMES)
    assert health.faults == ()
    assert policy in health.warnings[0]
    assert "set maxmemory-policy to noeviction" in health.warnings[0]


def test_a_full_redis_is_a_warning(admin: "redis.Redis") -> None:
    admin.config_set("maxmemory", 1)
    health = examine(admin, NAMES)
    assert health.faults == ()
    assert "is full" in health.warnings[0]


def test_a_wrong_password_is_told_in_the_words_of_redis(
    admin: "redis.Redis", caplog: pytest.LogCaptureFixture
) -> None:
    admin.config_set("requirepass", "right")
    port = admin.connection_pool.connection_kwargs["port"]
    client = connection.connect(RedisAddress(port=port, password="wrong"))
    watch = HealthWatch(lambda: examine(client, NAMES))
    with caplog.at_level(logging.INFO):
        watch.look()
        watch.look()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "invalid username-password pair" in caplog.text
    assert "wrong@" not in caplog.text
    admin.execute_command("AUTH", "right")
    admin.config_set("requirepass", "wrong")
    with caplog.at_level(logging.INFO):
        watch.look()
    assert "Redis works again" in caplog.text


def test_a_cluster_is_refused_in_words(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path, "--cluster-enabled", "yes") as url,
        redis.Redis.from_url(url) as client,
    ):
        health = examine(client, NAMES)
        assert any("is a Redis Cluster" in fault for fault in health.faults)
        with pytest.raises(ValueError, match="Redis is a Redis Cluster"):
            HealthWatch(lambda: health).start()


def test_addresses_stay_inside() -> None:
    text = "can't be used: Error 111 connecting to 10.0.0.3:6379. Connection refused."
    assert "10.0.0.3" not in without_addresses(text)
    assert "Connection refused" in without_addresses(text)


def test_a_user_who_lacks_commands_of_scripts_is_told_the_rule(admin: "redis.Redis") -> None:
    client = user(admin, "~*", "&*", "+@all", "-zadd", "-rpush")
    (fault,) = examine(client, NAMES).faults
    assert "ACL SETUSER <user>" in fault
    assert "+zadd" in fault
    admin.execute_command("ACL", "SETUSER", "app", "+zadd", "-evalsha")
    (fault,) = examine(client, NAMES).faults
    assert "+evalsha" in fault
    admin.execute_command("ACL", "SETUSER", "app", "+evalsha", "-time")
    (fault,) = examine(client, NAMES).faults
    assert "time" in fault
    admin.execute_command("ACL", "SETUSER", "app", "+time", "+rpush")
    assert examine(client, NAMES) == Health()
    assert not admin.keys("*:rights")


def test_a_policy_that_evicts_can_be_refused(admin: "redis.Redis") -> None:
    admin.config_set("maxmemory-policy", "volatile-lru")
    health = examine(admin, NAMES, require_noeviction=True)
    assert health.faults == health.unfit
    assert "set maxmemory-policy to noeviction" in health.unfit[0]
    assert not health.warnings
    with pytest.raises(ValueError, match="Redis has the maxmemory-policy volatile-lru"):
        HealthWatch(lambda: health).start()


def test_a_redis_for_blobs_needs_no_scripts_and_no_channels(admin: "redis.Redis") -> None:
    client = user(admin, "~*", "+set", "+info", "resetchannels")
    assert examine(client, NAMES, scripts=False) == Health()
    assert examine(client, NAMES).faults
