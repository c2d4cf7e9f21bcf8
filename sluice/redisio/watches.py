"""Watches of a process's Redis: each logs what is wrong with the server, now and later."""

from contextlib import suppress

from redis import Redis
from redis.exceptions import RedisError

from sluice.redisio.data_loss import DataWatch
from sluice.redisio.health import Health, HealthWatch, examine
from sluice.redisio.names import Names
from sluice.settings import Settings


def watch_ledger(client: Redis, settings: Settings) -> HealthWatch:
    """A watch of the ledger's Redis, not yet started. The watch notices a loss of data too."""
    data = DataWatch(client, Names(settings.queue.name))

    def look() -> Health:
        with suppress(RedisError):
            data.look()
        return _examine(client, settings)

    return HealthWatch(look)


def watch_blobs(client: Redis, settings: Settings) -> HealthWatch:
    """A watch of the Redis that holds blobs alone."""
    return HealthWatch(lambda: _examine(client, settings, scripts=False), "the blobs' Redis")


def _examine(client: Redis, settings: Settings, *, scripts: bool = True) -> Health:
    return examine(
        client,
        Names(settings.queue.name),
        require_noeviction=settings.redis.require_noeviction,
        scripts=scripts,
        min_replicas=settings.queue.min_replicas,
    )
