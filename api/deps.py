"""What the routes work with, built once for the process."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated

import anyio
import anyio.to_thread
import httpx
from fastapi import Depends, Request

from api.catalog import Catalog, TritonCatalog
from api.traffic.bulkhead import Bulkhead
from api.traffic.coalescer import Coalescer
from api.traffic.load import QueueLoadCache
from sluice.access.keys import Keys
from sluice.access.ratelimit import RateLimiter, RedisRateLimiter
from sluice.blobs.files import Files, RedisFiles
from sluice.blobs.store import Blobs
from sluice.intake.fast import AsyncIntake
from sluice.intake.intake import Intake
from sluice.ledger.batches import Batches, RedisBatches
from sluice.ledger.deliveries import Deliveries, RedisDeliveries
from sluice.ledger.events import Events, RedisEvents
from sluice.ledger.history import History, RedisHistory
from sluice.ledger.predictions import Ledger
from sluice.outbound.guard import Guard
from sluice.redisio.multiplexed import MultiplexedConnection
from sluice.settings import Settings
from sluice.stores import Stores
from sluice.webhooks.secrets import RedisSecrets, Secrets

_TRITON_TIMEOUT_S = 2.0
_LOOKS = 16
_THREADS = 8  # more would only wait for the interpreter's lock, and for Redis


@dataclass(frozen=True)
class Services:
    settings: Settings
    ledger: Ledger
    blobs: Blobs
    intake: Intake
    events: Events
    catalog: Catalog
    keys: Keys
    limiter: RateLimiter
    history: History
    guard: Guard
    queue_load: QueueLoadCache
    fast: AsyncIntake | None  # None with S3, and in tests: it needs a real Redis
    deliveries: Deliveries
    secrets: Secrets
    batches: Batches
    batch_slots: anyio.CapacityLimiter
    files: Files
    reads: Bulkhead = field(
        default_factory=lambda: Bulkhead(_LOOKS)
    )  # at records, for those who wait, of whom there may be thousands
    submissions: Bulkhead = field(
        default_factory=lambda: Bulkhead(_THREADS)
    )  # of submissions that block


@asynccontextmanager
async def services(settings: Settings) -> AsyncIterator[Services]:
    """Everything that the api holds open, connected on first use and closed at the end."""
    async with AsyncExitStack() as stack:
        stores = Stores.open(settings, settings.redis.timeout_s)
        stack.push_async_callback(anyio.to_thread.run_sync, stores.close)
        events = RedisEvents(
            settings.redis_url,
            settings.queue.name,
            connect_timeout_s=settings.redis.connect_timeout_s,
        )
        events.start()
        stack.push_async_callback(events.stop)
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=settings.triton.http_url, timeout=_TRITON_TIMEOUT_S)
        )
        yield Services(
            settings=settings,
            ledger=stores.ledger,
            blobs=stores.blobs,
            intake=stores.intake,
            events=events,
            catalog=TritonCatalog(http, ttl_s=settings.triton.models_ttl_s),
            keys=Keys(settings.api.keys_file),
            limiter=RedisRateLimiter(stores.redis, settings.queue.name),
            history=RedisHistory(stores.redis, settings.queue.name),
            guard=Guard(settings.netguard.allow),
            queue_load=QueueLoadCache(stores.ledger),
            fast=None if settings.blobs_in_s3 else _fast(settings, stores, stack),
            deliveries=RedisDeliveries(stores.redis, settings.queue.name, settings.webhooks),
            secrets=RedisSecrets(stores.redis, settings.queue.name),
            batches=RedisBatches(stores.redis, settings.queue),
            batch_slots=anyio.CapacityLimiter(settings.limits.batches_at_once),
            files=RedisFiles(stores.redis, settings.queue.name, stores.blobs, settings.blobs),
        )


def _fast(settings: Settings, stores: Stores, stack: AsyncExitStack) -> AsyncIntake:
    threads = stack.enter_context(ThreadPoolExecutor(_THREADS, thread_name_prefix="intake"))
    timeouts = {
        "connect_timeout_s": settings.redis.connect_timeout_s,
        "timeout_s": settings.redis.timeout_s,
    }
    pipes = {
        url: MultiplexedConnection(url, **timeouts)
        for url in (settings.redis_url, settings.blobs_url)
    }
    for pipe in pipes.values():
        stack.callback(pipe.close)
    return AsyncIntake(
        stores.ledger,
        pipes[settings.redis_url],
        pipes[settings.blobs_url] if len(pipes) > 1 else None,
        blob_ttl_s=settings.blobs.ttl_s,
        ring=Coalescer(stores.intake.ring, threads),
        drop=lambda key: threads.submit(stores.intake.orphan, key),
    )


async def _services(request: Request) -> Services:
    """Async, since FastAPI would call a function that is not on another thread."""
    found: Services = request.app.state.services
    return found


ServicesDep = Annotated[Services, Depends(_services)]


def base_url(request: Request) -> str:
    """Where the client reaches the api, with no slash at its end."""
    services: Services = request.app.state.services
    scope = request.scope
    host = request.headers.get("host") or ":".join(map(str, scope["server"]))
    return (
        services.settings.api.public_url
        or f"{scope['scheme']}://{host}{scope.get('root_path', '')}"
    )
