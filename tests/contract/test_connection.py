"""The clients of Redis, whose pools must not keep connections that are dead."""

from dataclasses import replace

import pytest
import redis

from sluice.redisio.connection import connect
from sluice.settings import RedisAddress


def test_a_pool_gives_up_its_idle_connections_when_one_fails(
    redis_url: str, redis_client: "redis.Redis"
) -> None:
    client = connect(replace(RedisAddress.parse(redis_url), timeout_s=0.5))
    pool = client.connection_pool
    idle = [pool.get_connection() for _ in range(4)]
    for connection in idle:
        pool.release(connection)
    assert all(connection._sock for connection in idle), "good connections are kept"
    redis_client.client_pause(1000)
    with pytest.raises(redis.exceptions.TimeoutError):
        client.ping()
    assert not any(connection._sock for connection in idle)
    redis_client.ping()  # answered at the end of the pause
    assert client.ping()
    client.close()
