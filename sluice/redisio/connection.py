"""Connecting to Redis, and the one place where redis-py's errors become ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sluice.errors import RedisUnavailable, Unavailable

# redis-py retries ten times by default: a request would wait for seconds without Redis.
NO_RETRY = Retry(NoBackoff(), 0)


def connect(url: str, *, connect_timeout_s: float, timeout_s: float) -> "redis.Redis":
    """A thread-safe client on a pool; connects on first use. Answers are bytes."""
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=connect_timeout_s,
        socket_timeout=timeout_s,
        socket_keepalive=True,
        health_check_interval=5,
        retry=NO_RETRY,
    )


@contextmanager
def translated(error: type[Unavailable] = RedisUnavailable) -> Iterator[None]:
    """Raises `error` for each error of redis-py.

    The message names no address: it may reach a client.
    """
    try:
        yield
    except redis.exceptions.OutOfMemoryError:
        raise error("Redis is full; try again later") from None
    except redis.exceptions.TimeoutError as cause:
        raise error("Redis did not answer in time; try again later") from cause
    except redis.exceptions.RedisError as cause:
        raise error("Redis is unavailable; try again later") from cause
