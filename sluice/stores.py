"""What every process that touches the queue holds open: two Redis clients, the ledger, the blobs, the doorbell and the intake."""

from dataclasses import dataclass
from typing import Self

from celery import Celery
from redis import Redis

from sluice import redisio
from sluice.blobs import RedisBlobs
from sluice.intake import Intake
from sluice.ledger import RedisLedger
from sluice.queue import CeleryDoorbell, make_app
from sluice.settings import Blobs, Queue, Settings


@dataclass(frozen=True)
class Stores:
    """Everything is thread-safe and connects on first use."""

    redis: Redis
    ledger: RedisLedger
    blobs: RedisBlobs
    celery: Celery
    doorbell: CeleryDoorbell
    intake: Intake
    _blobs_redis: Redis

    @classmethod
    def open(cls, settings: Settings, timeout_s: float) -> Self:
        """As the environment says; `timeout_s` bounds the wait for each answer of Redis."""
        timeouts = {"connect_timeout_s": settings.redis.connect_timeout_s, "timeout_s": timeout_s}
        return cls.connect(settings.redis_url, settings.queue, settings.blobs, blobs_url=settings.blobs_url, **timeouts)

    @classmethod
    def connect(
        cls,
        redis_url: str,
        queue: Queue,
        ttls: Blobs | None = None,
        *,
        blobs_url: str | None = None,
        connect_timeout_s: float = 1.0,
        timeout_s: float = 10.0,
    ) -> Self:
        """The blobs are in the ledger's Redis unless `blobs_url` says otherwise; of `ttls`, only the times are heeded."""
        timeouts = {"connect_timeout_s": connect_timeout_s, "timeout_s": timeout_s}
        ttls = ttls or Blobs()
        client = redisio.connect(redis_url, **timeouts)
        blobs_client = redisio.connect(blobs_url or redis_url, **timeouts)
        celery = make_app(redis_url, queue.name, visibility_timeout_s=queue.visibility_timeout_s, **timeouts)
        ledger, blobs = RedisLedger(client, queue), RedisBlobs(blobs_client)
        doorbell = CeleryDoorbell(celery, client, queue.name)
        intake = Intake(ledger, blobs, doorbell, blob_ttl_s=ttls.ttl_s, orphan_ttl_s=ttls.orphan_ttl_s)
        return cls(client, ledger, blobs, celery, doorbell, intake, blobs_client)

    def close(self) -> None:
        self.celery.close()
        self.redis.close()
        self._blobs_redis.close()
