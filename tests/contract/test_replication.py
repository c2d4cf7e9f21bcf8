"""Accepted with `Replication`, a submission is on the replicas, or the caller learns of it."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from redis.exceptions import RedisError

from sluice.batch import BatchSubmission
from sluice.blobs.files import RedisFiles
from sluice.blobs.store import RedisBlobs, input_key, stored_key
from sluice.errors import BlobsUnavailable, ReplicasMissing
from sluice.intake.intake import Intake
from sluice.ledger.batches import RedisBatches
from sluice.ledger.predictions import RedisLedger
from sluice.prediction import Status, Submission
from sluice.redisio import connection
from sluice.redisio.health import examine
from sluice.redisio.multiplexed import MultiplexedConnection
from sluice.redisio.names import Names
from sluice.redisio.replication import NotReplicated, Replication
from sluice.settings import BlobsSettings, QueueSettings, RedisAddress
from tests.fakes.doorbell import CountingDoorbell
from tests.support.failover import Pair, pair

pytestmark = pytest.mark.anyio

ONE = Replication(1, 0.3, "{default}:probe")
SUBMISSION = Submission(model="codes")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(tmp_path_factory.mktemp("pair")) as both:
        yield both


@pytest.fixture
def client(servers: Pair) -> Iterator["redis.Redis"]:
    made = connection.connect(RedisAddress(port=servers.ports[0]))
    made.flushdb()
    yield made
    made.close()


@contextmanager
def deaf(servers: Pair) -> Iterator[None]:
    """The replica follows no more, though it is connected."""
    os.kill(servers.servers[1].pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(servers.servers[1].pid, signal.SIGCONT)


def test_what_is_on_record_is_on_the_replica(servers: Pair, client: "redis.Redis") -> None:
    ledger = RedisLedger(client, QueueSettings(), ONE)
    assert ledger.create("a", SUBMISSION).made
    RedisBlobs(client, ONE).put("a", b"image", 60)
    with servers.client(1) as replica:
        assert replica.exists("{default}:prediction:a", stored_key("a")) == 2


def test_each_acknowledged_change_waits(servers: Pair, client: "redis.Redis") -> None:
    ledger = RedisLedger(client, QueueSettings(), ONE)
    for name in ("a", "b", "c"):
        ledger.create(name, SUBMISSION)
    batches = RedisBatches(client, QueueSettings(), ONE)
    batches.open("batch", BatchSubmission(model="codes", total=1))
    files = RedisFiles(client, "default", RedisBlobs(client), BlobsSettings(), ONE)
    first, second = ledger.claim("one", 60), ledger.claim("two", 60)
    assert first
    assert second
    with deaf(servers):
        with pytest.raises(ReplicasMissing, match="under the same id"):
            ledger.create("d", SUBMISSION)
        with pytest.raises(ReplicasMissing):
            ledger.cancel("c")
        with pytest.raises(ReplicasMissing):
            ledger.succeed(first, {}, {})
        with pytest.raises(BlobsUnavailable):
            RedisBlobs(client, ONE).put("d", b"image", 60)
        with pytest.raises(ReplicasMissing):
            batches.seal("batch")
        with pytest.raises(ReplicasMissing):
            files.add(b"x", "mine", name="x", content_type="image/jpeg", metadata={})
        # Only these are worth the wait: all else is repeated after a failover.
        ledger.renew(second, 60)
        assert ledger.sweep().due == 1
    assert ledger.get("c").status is Status.CANCELED
    assert ledger.get(first.prediction.id).status is Status.SUCCEEDED


def test_a_repetition_waits_for_what_an_earlier_call_wrote(
    servers: Pair, client: "redis.Redis"
) -> None:
    intake = Intake(
        RedisLedger(client, QueueSettings(), ONE),
        RedisBlobs(client, ONE),
        CountingDoorbell(),
        blob_ttl_s=60,
        orphan_ttl_s=60,
        repeats_are_written=True,
    )
    # Another process accepts it, and its answer never arrives.
    fast = RedisLedger(client, QueueSettings())
    with deaf(servers):
        plain = Intake(fast, RedisBlobs(client), CountingDoorbell(), blob_ttl_s=60, orphan_ttl_s=60)
        accepted = plain.accept_named("a", b"image", SUBMISSION)
        with pytest.raises((ReplicasMissing, BlobsUnavailable)):
            intake.accept_named("a", b"image", SUBMISSION)
    assert intake.accept_named("a", b"image", SUBMISSION).created_at == accepted.created_at
    with servers.client(1) as replica:
        image = stored_key(input_key("a", accepted.digest))
        assert replica.exists("{default}:prediction:a", image) == 2


async def test_callers_of_the_shared_connection_share_the_waiting(
    servers: Pair, client: "redis.Redis"
) -> None:
    client.config_resetstat()
    pipe = MultiplexedConnection(RedisAddress(port=servers.ports[0]), ONE)
    answers = await asyncio.gather(*(pipe.send(("SET", f"k{n}", "1")) for n in range(200)))
    assert answers == [[b"OK"]] * 200
    with servers.client(1) as replica:
        assert replica.dbsize() >= 200
    assert client.info("commandstats")["cmdstat_wait"]["calls"] < 50
    pipe.close()


async def test_each_caller_of_the_shared_connection_learns_of_too_few_replicas(
    servers: Pair,
) -> None:
    pipe = MultiplexedConnection(RedisAddress(port=servers.ports[0]), ONE)
    with deaf(servers):
        errors = await asyncio.gather(
            *(pipe.send(("SET", f"k{n}", "2")) for n in range(20)), return_exceptions=True
        )
    assert all(isinstance(error, NotReplicated) for error in errors)
    assert len({id(error) for error in errors}) == 20
    assert await pipe.send(("GET", "k1")) == [b"2"]
    pipe.close()


async def test_a_wait_that_its_connection_does_not_outlive_is_no_confirmation(
    servers: Pair,
) -> None:
    """The new connection may lead to a server that lacks the write."""
    pipe = MultiplexedConnection(RedisAddress(port=servers.ports[0]), ONE)
    await pipe.send(("PING",))
    with deaf(servers):
        writing = asyncio.create_task(pipe.send(("SET", "a", "1")))
        await asyncio.sleep(0.1)
        with servers.client(0) as primary:
            primary.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(RedisError):
            await writing
    pipe.close()


def test_readiness_tells_of_too_few_replicas_and_of_a_user_who_may_not_wait(
    servers: Pair, client: "redis.Redis"
) -> None:
    names = Names("default")
    assert examine(client, names, min_replicas=1).faults == ()
    (fault,) = examine(client, names, min_replicas=2).faults
    assert "1 replicas" in fault
    rules = ("on", "nopass", "~*", "&*", "+@all", "-wait")
    client.execute_command("ACL", "SETUSER", "nobody", *rules)
    user = connection.connect(RedisAddress(port=servers.ports[0], username="nobody", password="x"))
    (fault,) = examine(user, names, min_replicas=1).faults
    assert "+wait" in fault
    user.close()
