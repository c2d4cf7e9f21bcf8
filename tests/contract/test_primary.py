"""Connections follow the primary, when a name leads to another server and through Sentinels."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from redis.exceptions import ConnectionError, RedisError

from sluice.errors import RedisUnavailable
from sluice.intake.doorbell import CeleryDoorbell, make_app
from sluice.ledger.events import RedisEvents
from sluice.ledger.predictions import RedisLedger
from sluice.prediction import Submission
from sluice.redisio import connection
from sluice.redisio.multiplexed import MultiplexedConnection
from sluice.redisio.primary import primary_of
from sluice.settings import QueueSettings, RedisAddress
from tests.chaos.proxy import Proxy
from tests.support.failover import Pair, Watched, pair, watched

pytestmark = pytest.mark.anyio

_WITHIN_S = 20.0


class Named:
    """A pair behind one name, which leads new connections to the server at `leads_to`."""

    def __init__(self, servers: Pair) -> None:
        self.servers = servers
        self.leads_to = 0
        self.proxy = Proxy("redis", lambda: ("127.0.0.1", servers.ports[self.leads_to]))

    async def start(self) -> RedisAddress:
        return RedisAddress(port=await self.proxy.start(), timeout_s=5.0)

    def demote(self) -> None:
        self.leads_to = 1
        self.servers.demote(0)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Pair]:
    with pair(tmp_path) as both:
        yield both


@pytest.fixture
async def named(servers: Pair) -> AsyncIterator[tuple[Named, RedisAddress]]:
    name = Named(servers)
    yield name, await name.start()
    await name.proxy.stop()


@pytest.fixture(scope="module")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched(tmp_path_factory.mktemp("sentinels")) as all_parts:
        yield all_parts


async def test_the_first_refusal_of_a_demoted_server_ends_every_connection_to_it(
    named: tuple[Named, RedisAddress],
) -> None:
    name, address = named
    client, pipe = connection.connect(address), MultiplexedConnection(address)
    await asyncio.to_thread(client.set, "a", "1")
    assert await pipe.send(("SET", "b", "1")) == [b"OK"]
    name.demote()
    with pytest.raises(ConnectionError, match="takes no writes"):
        await asyncio.to_thread(client.set, "a", "2")
    assert await asyncio.to_thread(client.set, "a", "2")
    assert await pipe.send(("SET", "b", "2")) == [b"OK"]
    with name.servers.client(1) as new:
        assert new.mget("a", "b") == [b"2", b"2"]
    pipe.close()
    client.close()


async def test_a_refusal_on_the_shared_connection_ends_it(
    named: tuple[Named, RedisAddress],
) -> None:
    name, address = named
    pipe = MultiplexedConnection(address)
    await pipe.send(("SET", "b", "1"))
    name.demote()
    with pytest.raises(ConnectionError, match="takes no writes"):
        await pipe.send(("SET", "b", "2"))
    assert await pipe.send(("SET", "b", "2")) == [b"OK"]
    pipe.close()


async def test_a_refusal_inside_a_script_counts_too(named: tuple[Named, RedisAddress]) -> None:
    name, address = named
    client = connection.connect(address)
    ledger = RedisLedger(client, QueueSettings())
    submission = Submission(model="codes")
    await asyncio.to_thread(ledger.create, "first", submission)
    name.demote()
    with pytest.raises(RedisUnavailable):
        await asyncio.to_thread(ledger.create, "second", submission)
    assert (await asyncio.to_thread(ledger.create, "second", submission)).made
    client.close()


async def test_a_subscription_moves_with_the_process(named: tuple[Named, RedisAddress]) -> None:
    name, address = named
    events, client = RedisEvents(address, "default"), connection.connect(address)
    events.start()
    try:
        with events.expect("a") as event:
            await _publish_until(event, name.servers, 0)
        await asyncio.to_thread(client.set, "a", "0")
        name.demote()
        with contextlib.suppress(RedisError):
            await asyncio.to_thread(client.set, "a", "1")
        with name.servers.client(0) as old:  # no message of the new one reaches it
            old.replicaof("NO", "ONE")
        with events.expect("a") as event:
            await _publish_until(event, name.servers, 1)
    finally:
        await events.stop()
        client.close()


async def _publish_until(event: asyncio.Event, servers: Pair, index: int) -> None:
    with servers.client(index) as client:
        async with asyncio.timeout(_WITHIN_S):
            while not event.is_set():
                client.publish("{default}:events", "a succeeded")
                await asyncio.sleep(0.05)


async def test_the_doorbell_rings_at_the_new_primary(named: tuple[Named, RedisAddress]) -> None:
    name, address = named
    client = connection.connect(address)
    doorbell = CeleryDoorbell(make_app(address, "default"), client, "default")
    await asyncio.to_thread(doorbell.ring)
    name.demote()
    with pytest.raises(RedisUnavailable):
        await asyncio.to_thread(doorbell.ring)
    await asyncio.to_thread(doorbell.ring)
    with name.servers.client(1) as new:
        assert new.llen("default") == 2
    client.close()


async def test_too_few_replicas_end_no_other_connection(servers: Pair) -> None:
    """Results stay readable meanwhile."""
    address = RedisAddress(port=servers.ports[0])
    reads, writes = MultiplexedConnection(address), MultiplexedConnection(address)
    await reads.send(("SET", "a", "1"))
    await writes.send(("PING",))
    with servers.client(0) as primary:
        primary.config_set("min-replicas-to-write", 2)
    slow = asyncio.create_task(reads.send(("XREAD", "BLOCK", "500", "STREAMS", "none", "$")))
    await asyncio.sleep(0.1)
    with pytest.raises(ConnectionError, match="good replicas"):
        await writes.send(("SET", "a", "2"))
    assert await slow == [None]
    reads.close()
    writes.close()


async def test_all_clients_find_the_primary_through_sentinels_also_after_a_failover(
    sentinels: Watched,
) -> None:
    address = RedisAddress.parse(sentinels.url)
    client, pipe = connection.connect(address), MultiplexedConnection(address)
    doorbell = CeleryDoorbell(make_app(address, "default"), client, "default")
    for value in ("1", "2", "3"):
        async with asyncio.timeout(_WITHIN_S):
            # The old primary takes writes until Sentinel has made it a replica.
            while not (
                await _writes(client, pipe, doorbell, value)
                and _values(sentinels) == [value.encode(), value.encode()]
            ):
                await asyncio.sleep(0.05)
        await asyncio.to_thread(sentinels.fail_over)
    pipe.close()
    client.close()


def _values(sentinels: Watched) -> list[bytes | None]:
    with redis.Redis(port=sentinels.primary()) as primary:
        return list(primary.mget("a", "b"))


async def _writes(
    client: "redis.Redis", pipe: MultiplexedConnection, doorbell: CeleryDoorbell, value: str
) -> bool:
    try:
        await asyncio.to_thread(client.set, "a", value)
        await asyncio.to_thread(doorbell.ring)
        return await pipe.send(("SET", "b", value)) == [b"OK"]
    except (RedisError, RedisUnavailable):
        return False


async def test_a_look_at_the_sentinels_ends_calls_to_a_primary_that_hangs(
    sentinels: Watched,
) -> None:
    """No time-out is waited for, and the silent server itself says nothing."""
    address = replace(RedisAddress.parse(sentinels.url), timeout_s=600)
    client, primary = connection.connect(address), primary_of(address, {})
    await asyncio.to_thread(sentinels.until_known)
    port = sentinels.primary()
    (old,) = (server for server in sentinels.pair.servers if server.port == port)
    # The failover of another test may have just ended.
    await asyncio.to_thread(sentinels.pair.until_replicating, sentinels.pair.servers.index(old))
    async with asyncio.timeout(_WITHIN_S):
        while (await asyncio.to_thread(client.info, "server"))["tcp_port"] != port:
            await asyncio.to_thread(primary.look)
            await asyncio.sleep(0.1)
    os.kill(old.pid, signal.SIGSTOP)
    try:
        waiting = asyncio.create_task(asyncio.to_thread(client.get, "a"))
        await asyncio.to_thread(sentinels.until_elsewhere, port)
        await asyncio.to_thread(primary.look)
        async with asyncio.timeout(_WITHIN_S):
            with pytest.raises(RedisError):
                await waiting
    finally:
        os.kill(old.pid, signal.SIGCONT)
    client.close()
