"""Reads on the event loop return what the ledger's own reads return."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis

from sluice.errors import Gone, NotFound, RedisUnavailable
from sluice.ledger.predictions import RedisLedger
from sluice.ledger.reads import AsyncReads
from sluice.prediction import Priority, Submission
from sluice.redisio.multiplexed import MultiplexedConnection
from sluice.redisio.names import Names
from sluice.settings import QueueSettings, RedisAddress
from tests.support.servers import free_port

pytestmark = pytest.mark.anyio

SUBMISSION = Submission(model="codes", key="mine", priority=Priority.HIGH, metadata={"a": "ä"})


@pytest.fixture
async def reads(redis_url: str) -> AsyncIterator[AsyncReads]:
    connection = MultiplexedConnection(RedisAddress.parse(redis_url))
    yield AsyncReads(connection, "default")
    connection.close()


@pytest.fixture
def ledger(redis_client: "redis.Redis") -> RedisLedger:
    return RedisLedger(redis_client, QueueSettings())


async def test_a_record_is_the_ledgers(reads: AsyncReads, ledger: RedisLedger) -> None:
    ledger.create("a", SUBMISSION)
    assert await reads.get("a") == ledger.get("a")
    claim = ledger.claim("w", 10)
    assert claim is not None
    ledger.succeed(claim, {"predictions": [{"x": 1.5}]}, {"predict_time": 0.5}, "done")
    ended = await reads.get("a", "mine")
    assert ended == ledger.get("a")
    assert ended.output == {"predictions": [{"x": 1.5}]}


async def test_what_is_unknown_or_over_is_no_record(
    reads: AsyncReads, ledger: RedisLedger, redis_client: "redis.Redis"
) -> None:
    with pytest.raises(NotFound):
        await reads.get("a")
    ledger.create("a", SUBMISSION)
    with pytest.raises(NotFound):
        await reads.get("a", "another")
    redis_client.set(Names("default").gone("b"), "mine")
    with pytest.raises(Gone):
        await reads.get("b", "mine")
    with pytest.raises(NotFound):
        await reads.get("b", "another")


async def test_many_reads_share_a_connection(
    reads: AsyncReads, ledger: RedisLedger, redis_client: "redis.Redis"
) -> None:
    for number in range(50):
        ledger.create(f"a{number}", SUBMISSION)
    before = redis_client.info("stats")["total_connections_received"]
    found = await asyncio.gather(*(reads.get(f"a{number}") for number in range(50)))
    assert [prediction.id for prediction in found] == [f"a{number}" for number in range(50)]
    assert redis_client.info("stats")["total_connections_received"] - before <= 1


async def test_a_connection_that_broke_unnoticed_is_made_again(
    reads: AsyncReads, ledger: RedisLedger, redis_client: "redis.Redis"
) -> None:
    ledger.create("a", SUBMISSION)
    await reads.get("a")
    redis_client.client_kill_filter(_type="normal", skipme=True)
    assert (await reads.get("a")).id == "a"


async def test_errors_of_redis_are_raised(reads: AsyncReads, redis_client: "redis.Redis") -> None:
    redis_client.set(Names("default").prediction("a"), "no hash")
    with pytest.raises(RedisUnavailable):
        await reads.get("a")
    away = MultiplexedConnection(RedisAddress(port=free_port()))
    with pytest.raises(RedisUnavailable):
        await AsyncReads(away, "default").get("a")
