"""What every process that touches the queue holds open: Redis, the ledger, the blobs, the doorbell and the intake."""

from dataclasses import dataclass
from typing import Self

from celery import Celery
from redis import Redis

from sluice.blobs.store import Blobs, RedisBlobs
from sluice.intake.doorbell import CeleryDoorbell, make_app
from sluice.intake.intake import Intake
from sluice.ledger.predictions import RedisLedger
from sluice.redisio import connection
from sluice.settings import BlobsSettings, QueueSettings, Settings


@dataclass(frozen=True)
class Stores:
    """Everything is thread-safe and connects on first use."""

    redis: Redis
    ledger: RedisLedger
    blobs: Blobs
    celery: Celery
    doorbell: CeleryDoorbell
    intake: Intake
    _blobs_redis: Redis | None

    @classmethod
    def open(cls, settings: Settings, timeout_s: float) -> Self:
        """As the environment says; `timeout_s` bounds the wait for each answer of Redis, and of S3 if it is longer than S3's own.

        Raises ValueError for a setting that is wrong.
        """
        timeouts = {"connect_timeout_s": settings.redis.connect_timeout_s, "timeout_s": timeout_s}
        return cls.connect(
            settings.redis_url,
            settings.queue,
            settings.blobs,
            blobs_url=settings.blobs_url,
            **timeouts,
        )

    @classmethod
    def connect(
        cls,
        redis_url: str,
        queue: QueueSettings,
        ttls: BlobsSettings | None = None,
        *,
        blobs_url: str | None = None,
        connect_timeout_s: float = 1.0,
        timeout_s: float = 10.0,
    ) -> Self:
        """The blobs are in the ledger's Redis unless `blobs_url` says otherwise; of `ttls`, the times and S3's are heeded."""
        timeouts = {"connect_timeout_s": connect_timeout_s, "timeout_s": timeout_s}
        ttls = ttls or BlobsSettings()
        client = connection.connect(redis_url, **timeouts)
        blobs_client, blobs = _blobs(blobs_url or redis_url, ttls, **timeouts)
        celery = make_app(
            redis_url, queue.name, visibility_timeout_s=queue.visibility_timeout_s, **timeouts
        )
        ledger = RedisLedger(client, queue)
        doorbell = CeleryDoorbell(celery, client, queue.name)
        intake = Intake(
            ledger, blobs, doorbell, blob_ttl_s=ttls.ttl_s, orphan_ttl_s=ttls.orphan_ttl_s
        )
        return cls(client, ledger, blobs, celery, doorbell, intake, blobs_client)

    def close(self) -> None:
        self.celery.close()
        self.redis.close()
        if self._blobs_redis:
            self._blobs_redis.close()


def _blobs(
    url: str, settings: BlobsSettings, *, connect_timeout_s: float, timeout_s: float
) -> tuple[Redis | None, Blobs]:
    if not url.startswith("s3://"):
        client = connection.connect(url, connect_timeout_s=connect_timeout_s, timeout_s=timeout_s)
        return client, RedisBlobs(client)
    try:
        from sluice.blobs import s3  # noqa: PLC0415  # it needs a package that comes with the extra `s3`
    except ModuleNotFoundError as error:
        raise ValueError(
            f"SLUICE_BLOBS_URL names a bucket, and there is no {error.name}: install sluice[s3]"
        ) from None
    times = {
        "connect_timeout_s": connect_timeout_s,
        "timeout_s": max(timeout_s, settings.s3_timeout_s),
    }
    return None, s3.S3Blobs(s3.connect(url, settings, **times))
