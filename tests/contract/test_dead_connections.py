"""A connection that is dead without an end is told from a Redis that is slow."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import redis
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from sluice.redisio.connection import connect
from sluice.settings import RedisAddress
from tests.support.proxied import Proxied

_TIMEOUT_S = 600.0  # longer than any test
_WITHIN_S = 60.0


@pytest.fixture
def link(redis_url: str) -> Iterator[Proxied]:
    address = RedisAddress.parse(redis_url)
    with Proxied(address.host, address.port) as link:
        yield link


@pytest.fixture
def client(link: Proxied) -> Iterator["redis.Redis"]:
    with _connected(link) as client:
        yield client


@contextmanager
def _connected(link: Proxied) -> Iterator["redis.Redis"]:
    client = connect(RedisAddress(port=link.port, timeout_s=_TIMEOUT_S))
    assert client.ping()
    yield client
    client.close()


def test_a_call_on_a_dead_connection_ends_soon_and_the_next_one_succeeds(
    link: Proxied, client: "redis.Redis"
) -> None:
    link.silence()
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(RedisTimeoutError):
            pool.submit(client.ping).result(_WITHIN_S)
        assert pool.submit(client.ping).result(_WITHIN_S)
    assert link.proxy.accepted == 3, "the dead connection, the question and the new connection"


def test_a_call_that_begins_while_redis_is_cut_off_ends_soon_after_the_end(
    link: Proxied, client: "redis.Redis"
) -> None:
    """New connections are silent too, until then."""
    link.begin_partition()
    with ThreadPoolExecutor(1) as pool:
        call: Future[bool] = pool.submit(client.ping)
        with pytest.raises(TimeoutError):  # of the future: nothing answers
            call.result(4)
        assert not call.done()
        link.end_partition()
        with pytest.raises(RedisError):
            call.result(_WITHIN_S)
        assert pool.submit(client.ping).result(_WITHIN_S)


def test_one_dead_connection_ends_the_process_s_other_silent_ones(
    link: Proxied, client: "redis.Redis"
) -> None:
    with _connected(link) as other, ThreadPoolExecutor(1) as pool:
        link.silence()
        with pytest.raises(RedisTimeoutError):
            pool.submit(client.ping).result(_WITHIN_S)
        assert pool.submit(other.ping).result(_WITHIN_S), "it connects again, and has no time-out"


def test_a_slow_redis_gets_its_time(client: "redis.Redis", redis_client: "redis.Redis") -> None:
    """A fork or a busy disk takes seconds. The call ends well, on the same connection."""
    before = client.client_id()
    redis_client.client_pause(4000)
    assert client.client_id() == before
