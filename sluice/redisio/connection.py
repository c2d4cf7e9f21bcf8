"""Clients of Redis, all made here, and the one place where redis-py's errors become ours."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from sluice.errors import RedisUnavailable, ReplicasMissing, Unavailable
from sluice.redisio.primary import (
    AsyncToPrimary,
    AsyncToPrimaryByTls,
    ToPrimary,
    ToPrimaryByTls,
    primary_of,
)
from sluice.redisio.replication import NotReplicated
from sluice.redisio.statistics import ERRORS
from sluice.settings import RedisAddress

_HEALTH_CHECK_S = 5
#: Celery's wait on the queue takes 1 s. If the answer is late by so much, its connection ends.
_BROKER_CHECK_S = 2
#: An idle connection stays known to firewalls on its way, and a dead one is found in 30 s.
_KEEPALIVE = {socket.TCP_KEEPIDLE: 15, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}
_CERT_REQS = {"full": "required", "ca": "required", "none": "none"}


class _Pool(redis.ConnectionPool):
    """Gives up its idle connections when one fails: all of them may be as dead.

    Else each would cost one more call its whole time-out, long after Redis is back.
    """

    def release(self, connection: Any) -> None:
        failed = connection._sock is None  # redis-py has closed the connection
        super().release(connection)
        if failed:
            self.disconnect(inuse_connections=False)


def connect(address: RedisAddress) -> "redis.Redis":
    """A thread-safe client on a pool; connects on first use. Answers are bytes.

    No command may block for more than a second: its connection would count as dead.
    """
    pool = _Pool(
        connection_class=ToPrimaryByTls if address.tls else ToPrimary,
        **_options(address),
        counted=True,
        socket_timeout=address.timeout_s,
        health_check_interval=_HEALTH_CHECK_S,
        # redis-py retries ten times by default: a request would wait for seconds without Redis.
        retry=Retry(NoBackoff(), 0),
    )
    return redis.Redis.from_pool(pool)


def connect_for_subscriptions(address: RedisAddress) -> "redis.asyncio.Redis":
    """A client on the running event loop, whose owner makes a lost subscription again.

    redis-py would make it again by itself, and its owner would not learn of missed messages.
    """
    pool = _async_pool(address, socket_timeout=address.timeout_s, retry=AsyncRetry(NoBackoff(), 0))
    return redis.asyncio.Redis.from_pool(pool)


def connections(address: RedisAddress) -> "redis.asyncio.ConnectionPool":
    """Single connections on the running event loop, for a caller that reads their sockets."""
    return _async_pool(
        address,
        socket_timeout=address.timeout_s,
        retry=AsyncRetry(NoBackoff(), 0),
        protocol=2,  # in which Redis pushes no messages of its own
    )


def celery_options(address: RedisAddress) -> dict[str, Any]:
    """The settings that lead Celery to its broker, with `broker_transport_options` among them."""
    user = quote(address.username or "", safe="")
    password = f":{quote(address.password, safe='')}" if address.password else ""
    host = f"[{address.host}]" if ":" in address.host else address.host
    login = f"{user}{password}@" if user or password else ""
    return {
        "broker_url": f"redis://{login}{host}:{address.port}/{address.database}",
        "broker_transport": "sluice.redisio.broker:Transport",
        "broker_use_ssl": _tls(address) or None,
        "broker_transport_options": {
            "primary": primary_of(address, _tls(address)),
            "socket_connect_timeout": address.connect_timeout_s,
            "socket_timeout": address.timeout_s,
            "socket_keepalive": True,
            "health_check_interval": _BROKER_CHECK_S,
        },
    }


def _async_pool(address: RedisAddress, **options: Any) -> "redis.asyncio.ConnectionPool":
    return redis.asyncio.ConnectionPool(
        connection_class=AsyncToPrimaryByTls if address.tls else AsyncToPrimary,
        **_options(address),
        **options,
    )


def _options(address: RedisAddress) -> dict[str, Any]:
    return {
        "primary": primary_of(address, _tls(address)),
        "host": address.host,
        "port": address.port,
        "db": address.database,
        "username": address.username,
        "password": address.password,
        "socket_connect_timeout": address.connect_timeout_s,
        "socket_keepalive": True,
        "socket_keepalive_options": _KEEPALIVE,
        **_tls(address),
    }


def _tls(address: RedisAddress) -> dict[str, Any]:
    """The options for TLS, of which redis-py and Celery have the same; empty without it."""
    if address.tls is None:
        return {}
    return {
        "ssl_ca_certs": address.tls.ca_file,
        "ssl_certfile": address.tls.cert_file,
        "ssl_keyfile": address.tls.key_file,
        "ssl_cert_reqs": _CERT_REQS[address.tls.verify],
        "ssl_check_hostname": address.tls.verify == "full",
    }


@contextmanager
def translated(error: type[Unavailable] = RedisUnavailable) -> Iterator[None]:
    """Raises `error` for each error of redis-py.

    The message names no address: it may reach a client.
    """
    try:
        yield
    except redis.exceptions.OutOfMemoryError:
        ERRORS.add("full")
        raise error("Redis is full; try again later") from None
    except NotReplicated as cause:
        ERRORS.add("not_replicated")
        kind = ReplicasMissing if error is RedisUnavailable else error
        raise kind(
            "too few replicas of Redis confirmed the change, which may have been made all the same;"
            " repeat the call under the same id"
        ) from cause
    except redis.exceptions.TimeoutError as cause:
        ERRORS.add("timeout")
        raise error("Redis did not answer in time; try again later") from cause
    except redis.exceptions.RedisError as cause:
        ERRORS.add("unavailable")
        raise error("Redis is unavailable; try again later") from cause
