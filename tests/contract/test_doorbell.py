"""The contract of `Doorbell`; a ring in Redis is one message in the list that KEDA counts."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis

from sluice.errors import RedisUnavailable
from sluice.intake.doorbell import (
    MAX_WAITING_RINGS,
    TASK,
    AsyncDoorbell,
    CeleryDoorbell,
    Doorbell,
    make_app,
)
from sluice.redisio import connection
from sluice.redisio.multiplexed import MultiplexedConnection
from sluice.settings import RedisAddress
from tests.fakes.doorbell import CountingDoorbell
from tests.support.servers import free_port, redis_server


def _celery(url: str) -> CeleryDoorbell:
    address = RedisAddress.parse(url)
    return CeleryDoorbell(make_app(address, "default"), connection.connect(address), "default")


@pytest.fixture(params=["celery", "memory"])
def doorbell(request: pytest.FixtureRequest) -> Doorbell:
    if request.param == "memory":
        return CountingDoorbell()
    request.getfixturevalue("redis_client")
    return _celery(request.getfixturevalue("redis_url"))


def test_rings_wait_until_a_worker_takes_them(doorbell: Doorbell) -> None:
    assert doorbell.waiting() == 0
    doorbell.ring()
    doorbell.ring()
    assert doorbell.waiting() == 2


def test_the_number_of_waiting_rings_is_bounded(doorbell: Doorbell) -> None:
    for _ in range(MAX_WAITING_RINGS + 10):
        doorbell.ring()
    assert doorbell.waiting() == MAX_WAITING_RINGS


def test_a_rings_message_names_the_task_and_nothing_else(
    redis_client: "redis.Redis", redis_url: str
) -> None:
    _celery(redis_url).ring()
    message = json.loads(redis_client.lrange("default", 0, -1)[0])
    assert message["headers"]["task"] == TASK
    assert len(json.dumps(message)) < 1500


def _shape(value: Any) -> Any:
    """A message without what differs between two messages of Celery."""
    if isinstance(value, dict):
        new = ("id", "root_id", "correlation_id", "delivery_tag", "reply_to", "origin")
        return {name: "new" if name in new else _shape(part) for name, part in value.items()}
    return value


def test_a_rings_message_is_the_one_that_celery_sends(
    redis_client: "redis.Redis", redis_url: str
) -> None:
    make_app(RedisAddress.parse(redis_url), "default").send_task(TASK, queue="default")
    _celery(redis_url).ring()
    ours, celerys = map(json.loads, redis_client.lrange("default", 0, -1))
    assert _shape(ours) == _shape(celerys)


def test_each_ring_has_an_id_of_its_own(redis_client: "redis.Redis", redis_url: str) -> None:
    doorbell = _celery(redis_url)
    doorbell.ring()
    doorbell.ring()
    messages = [json.loads(message) for message in redis_client.lrange("default", 0, -1)]
    assert len({message["headers"]["id"] for message in messages}) == 2
    assert len({message["properties"]["delivery_tag"] for message in messages}) == 2


def test_an_unavailable_broker_raises_redis_unavailable_at_once() -> None:
    doorbell = _celery(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(RedisUnavailable):
        doorbell.ring()
    with pytest.raises(RedisUnavailable):
        doorbell.waiting()


def test_a_redis_that_was_flushed_is_rung_on(redis_client: "redis.Redis", redis_url: str) -> None:
    """Celery keeps its exchanges in Redis, and makes them only once."""
    doorbell = _celery(redis_url)
    doorbell.ring()
    redis_client.flushall()
    doorbell.ring()
    doorbell.ring()
    assert doorbell.waiting() == 2


def test_a_message_is_acknowledged_although_redis_is_unavailable(tmp_path: Path) -> None:
    """A message that keeps its place among the prefetched ones would end all reading."""
    with redis_server(tmp_path) as url:
        address = RedisAddress.parse(url)
        _celery(url).ring()
        channel = make_app(address, "default").connection_for_read().channel()
        channel.basic_qos(0, 1, False)
        message = channel.basic_get("default")
        assert not channel.qos.can_consume()
    message.ack()
    assert channel.qos.can_consume()


@pytest.fixture
async def on_loop(redis_url: str) -> AsyncIterator[AsyncDoorbell]:
    connection = MultiplexedConnection(RedisAddress.parse(redis_url))
    yield AsyncDoorbell(_celery(redis_url), connection)
    connection.close()


@pytest.mark.anyio
async def test_a_ring_on_an_event_loop_is_the_same_and_bounded(
    redis_client: "redis.Redis", redis_url: str, on_loop: AsyncDoorbell
) -> None:
    doorbell = _celery(redis_url)
    doorbell.ring()
    await on_loop.ring()
    ours, threads = map(json.loads, redis_client.lrange("default", 0, -1))
    assert _shape(ours) == _shape(threads)
    assert ours["headers"]["id"] != threads["headers"]["id"]
    for _ in range(MAX_WAITING_RINGS + 10):
        await on_loop.ring()
    assert doorbell.waiting() == MAX_WAITING_RINGS


@pytest.mark.anyio
async def test_a_ring_on_an_event_loop_outlives_a_break_of_its_connection(
    redis_client: "redis.Redis", redis_url: str, on_loop: AsyncDoorbell
) -> None:
    await on_loop.ring()
    redis_client.client_kill_filter(_type="normal", skipme=True)
    await on_loop.ring()
    assert _celery(redis_url).waiting() == 2


@pytest.mark.anyio
async def test_a_ring_on_an_event_loop_raises_redis_unavailable() -> None:
    address = f"redis://127.0.0.1:{free_port()}/0"
    connection = MultiplexedConnection(RedisAddress.parse(address))
    with pytest.raises(RedisUnavailable):
        await AsyncDoorbell(_celery(address), connection).ring()
