"""Connections to Redis, the blob store and the queue, which every process opens."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from celery import Celery
from redis import Redis

from sluice.blobs.store import Blobs, RedisBlobs, stored_key
from sluice.intake.doorbell import CeleryDoorbell, make_app
from sluice.intake.intake import Intake
from sluice.ledger.predictions import RedisLedger
from sluice.redisio import connection
from sluice.redisio.names import Names
from sluice.redisio.replication import Replication
from sluice.redisio.watches import watch_blobs, watch_ledger
from sluice.settings import Settings

_WAIT_SHARE = 0.5  # of the api's time-out, so that it answers in time
_WAIT_MAX_S = 1.0  # see `connection.connect`


@dataclass(frozen=True)
class Stores:
    """All are thread-safe, and connect on first use."""

    redis: Redis
    """The ledger's Redis."""
    ledger: RedisLedger
    blobs: Blobs
    celery: Celery
    doorbell: CeleryDoorbell
    intake: Intake
    blobs_redis: Redis | None
    """Connection of the blob store; None if it is S3."""
    replication: Replication | None
    """The replicas of the ledger's Redis that a write waits for."""

    @classmethod
    def open(cls, settings: Settings, timeout_s: float) -> Self:
        """`timeout_s` bounds the wait for each answer of Redis.

        S3 has the longer one of `timeout_s` and its own time-out.
        Raises ValueError if the blob store's URL is wrong.
        """
        address, queue = settings.redis_address(timeout_s), settings.queue
        redis = connection.connect(address)
        blobs_redis, blobs = _open_blobs(settings, timeout_s)
        replication = replication_of(settings, Names(queue.name).probe)
        celery = make_app(address, queue.name)
        ledger = RedisLedger(
            redis, queue, replication, require_noeviction=settings.redis.require_noeviction
        )
        doorbell = CeleryDoorbell(celery, redis, queue.name)
        intake = Intake(
            ledger,
            blobs,
            doorbell,
            blob_ttl_s=settings.blobs.ttl_s,
            orphan_ttl_s=settings.blobs.orphan_ttl_s,
            repeats_are_written=replication is not None,
            id_prefix=queue.id_prefix,
        )
        return cls(redis, ledger, blobs, celery, doorbell, intake, blobs_redis, replication)

    def close(self) -> None:
        self.celery.close()
        self.redis.close()
        if self.blobs_redis:
            self.blobs_redis.close()


def _open_blobs(settings: Settings, timeout_s: float) -> tuple[Redis | None, Blobs]:
    if settings.blobs.bucket is None:
        redis = connection.connect(settings.blobs_address(timeout_s))
        return redis, RedisBlobs(redis, replication_of(settings, stored_key("probe")))
    try:
        from sluice.blobs import s3  # noqa: PLC0415 - needs the extra `s3`
    except ModuleNotFoundError as error:
        raise ValueError(
            f"SLUICE_BLOBS_URL names a bucket, and {error.name} is missing: install sluice[s3]"
        ) from None
    bucket = s3.connect(
        settings.blobs.bucket,
        settings.blobs,
        connect_timeout_s=settings.redis.connect_timeout_s,
        timeout_s=max(timeout_s, settings.blobs.s3_timeout_s),
    )
    return None, s3.S3Blobs(bucket)


def watch_redis(stores: Stores, settings: Settings) -> Callable[[], None]:
    """Log what is wrong with every Redis, now and later, until the result is called.

    Raises ValueError where Sluice can't work with one of them.
    """
    watches = [watch_ledger(stores.redis, settings)]
    if settings.blobs.redis_address() and stores.blobs_redis:
        watches.append(watch_blobs(stores.blobs_redis, settings))
    for watch in watches:
        watch.start()

    def stop() -> None:
        for watch in watches:
            watch.stop()

    return stop


def replication_of(settings: Settings, probe_key: str) -> Replication | None:
    """The replicas that a write waits for before it counts as made; None if it waits for none."""
    if not settings.queue.min_replicas:
        return None
    timeout_s = min(_WAIT_SHARE * settings.redis.timeout_s, _WAIT_MAX_S)
    return Replication(settings.queue.min_replicas, timeout_s, probe_key)
