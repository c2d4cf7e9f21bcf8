"""The contract of `Events`: the subscription in Redis, and the one in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import pytest
import redis

from sluice.ledger.events import RECENT_ENDS, Events, RedisEvents
from sluice.prediction import Status
from sluice.settings import RedisAddress
from tests.fakes.events import MemoryEvents
from tests.support.link import Link

pytestmark = pytest.mark.anyio

CHANNEL = "{default}:events"
PATIENCE_S = 30.0


@dataclass
class World:
    events: Events
    publish: Callable[[str, Status], object]

    async def settle(self) -> None:
        """Return once all that was published has arrived."""
        with self.events.expect("settled") as event:
            self.publish("settled", Status.SUCCEEDED)
            await _wait(event)


async def _wait(event: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await event.wait()


async def _until_subscribed(client: "redis.Redis") -> None:
    async with asyncio.timeout(PATIENCE_S):
        while dict(client.pubsub_numsub(CHANNEL))[CHANNEL.encode()] == 0:
            await asyncio.sleep(0.02)


@pytest.fixture(params=["redis", "memory"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        memory = MemoryEvents()
        yield World(memory, memory.publish)
        return
    client = request.getfixturevalue("redis_client")
    url = request.getfixturevalue("redis_url")
    events = RedisEvents(RedisAddress.parse(url), "default")
    events.start()
    await _until_subscribed(client)
    yield World(events, lambda name, status: client.publish(CHANNEL, f"{name} {status}"))
    await events.stop()


@pytest.mark.parametrize(
    "status", [Status.SUCCEEDED, Status.FAILED, Status.CANCELED, Status.ABORTED]
)
async def test_every_terminal_status_wakes_the_waiting_callers(
    world: World, status: Status
) -> None:
    with world.events.expect("a") as one, world.events.expect("a") as other:
        world.publish("a", status)
        await _wait(one)
        await _wait(other)


async def test_changes_before_the_end_wake_only_callers_that_wait_for_every_change(
    world: World,
) -> None:
    with (
        world.events.expect("a") as end,
        world.events.expect("a", every_change=True) as change,
    ):
        world.publish("a", Status.PROCESSING)
        await _wait(change)
        assert not end.is_set()
        change.clear()
        world.publish("a", Status.STARTING)
        await _wait(change)
        change.clear()
        world.publish("a", Status.FAILED)
        await _wait(change)
        await _wait(end)


async def test_the_end_of_another_subject_wakes_nobody(world: World) -> None:
    with world.events.expect("a", every_change=True) as event:
        world.publish("b", Status.SUCCEEDED)
        world.publish("aa", Status.SUCCEEDED)
        await world.settle()
        assert not event.is_set()


async def test_a_change_before_or_after_the_wait_does_not_count(world: World) -> None:
    world.publish("a", Status.PROCESSING)
    await world.settle()
    with world.events.expect("a", every_change=True) as event:
        await world.settle()
        assert not event.is_set()
    world.publish("a", Status.SUCCEEDED)
    await world.settle()
    assert not event.is_set()


async def test_an_end_shortly_before_the_wait_counts(world: World) -> None:
    world.publish("a", Status.SUCCEEDED)
    await world.settle()
    with world.events.expect("a") as event, world.events.expect("b") as other:
        assert event.is_set()
        assert not other.is_set()


async def test_in_redis_old_ends_are_forgotten(redis_url: str) -> None:
    events = RedisEvents(RedisAddress.parse(redis_url), "default")
    for number in range(RECENT_ENDS + 1):
        events._tell(str(number), Status.SUCCEEDED)
    with events.expect("0") as oldest, events.expect("1") as next_oldest:
        assert not oldest.is_set()
        assert next_oldest.is_set()


async def test_closing_wakes_everyone(world: World) -> None:
    assert not world.events.closing
    with world.events.expect("a") as one, world.events.expect("b", every_change=True) as other:
        world.events.close()
        assert world.events.closing
        await _wait(one)
        await _wait(other)


async def test_in_redis_a_lost_subscription_is_made_again(
    redis_url: str, redis_client: "redis.Redis"
) -> None:
    events = RedisEvents(RedisAddress.parse(redis_url), "default")
    events.start()
    await _until_subscribed(redis_client)
    redis_client.client_kill_filter(_type="pubsub")
    async with asyncio.timeout(PATIENCE_S):
        while dict(redis_client.pubsub_numsub(CHANNEL))[CHANNEL.encode()] > 0:
            await asyncio.sleep(0.02)
    await _until_subscribed(redis_client)
    with events.expect("a") as event:
        redis_client.publish(CHANNEL, f"a {Status.SUCCEEDED}")
        await _wait(event)
    await events.stop()


async def test_in_redis_an_unavailable_server_is_no_error_of_the_caller() -> None:
    events = RedisEvents(RedisAddress(port=1), "default")
    events.start()
    with events.expect("a") as event:
        await asyncio.sleep(0.1)
        assert not event.is_set()
    await events.stop()


async def test_in_redis_a_subscription_that_goes_silent_is_made_again(
    redis_url: str, redis_client: "redis.Redis"
) -> None:
    """A firewall on the way may forget connections: neither side learns of an end."""
    address = RedisAddress.parse(redis_url)
    with Link((address.host, address.port)).running() as link:
        events = RedisEvents(replace(address, port=link.port), "default")
        events.start()
        await _until_subscribed(redis_client)
        with link.swallowing():
            await asyncio.sleep(0.1)
        with events.expect("a", every_change=True) as event:
            async with asyncio.timeout(PATIENCE_S):
                await event.wait()  # by the new subscription, since events may have been missed
                event.clear()
                redis_client.publish(CHANNEL, f"a {Status.SUCCEEDED}")
                await event.wait()
        await events.stop()


@pytest.mark.parametrize("text", [b"p1 resting", b"p1", b"p1 succeeded twice", b"p1 \xff"])
async def test_an_event_of_a_newer_version_wakes_the_caller_and_is_no_last_one(
    text: bytes, redis_client: "redis.Redis", redis_url: str
) -> None:
    """During an upgrade, workers of both versions publish."""
    events = RedisEvents(RedisAddress.parse(redis_url), "default")
    events.start()
    await _until_subscribed(redis_client)
    with events.expect("p1") as event:
        event.clear()
        redis_client.publish(CHANNEL, text)
        await _wait(event)
    with events.expect("p1") as event:
        assert not event.is_set(), "the prediction may go on"
        redis_client.publish(CHANNEL, "p1 succeeded")
        await _wait(event)
    await events.stop()
