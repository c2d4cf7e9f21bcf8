"""The services that the routes work with, built once for the process."""

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

import anyio
import anyio.to_thread
import httpx
from fastapi import Depends, Request

from api.base_url import base_url as base_url_of
from api.batch_submitting import BatchSubmitting
from api.catalog import Catalog, TritonCatalog
from api.follow import Following
from api.metrics import Metrics
from api.submitting import Submitting
from api.traffic.arrivals import Arrivals
from api.traffic.bulkhead import Bulkhead
from api.traffic.coalescer import Coalescer
from api.traffic.followers import Followers
from api.traffic.load import QueueLoadCache
from sluice.access.keys import Keys
from sluice.access.ratelimit import RateLimiter, RedisRateLimiter
from sluice.blobs.files import Files, RedisFiles
from sluice.blobs.store import Blobs
from sluice.intake.doorbell import AsyncDoorbell
from sluice.intake.fast import FastIntake
from sluice.intake.intake import Intake
from sluice.ledger.batches import Batches, RedisBatches
from sluice.ledger.deliveries import Deliveries, RedisDeliveries
from sluice.ledger.events import Events, RedisEvents
from sluice.ledger.history import History, RedisHistory
from sluice.ledger.predictions import Ledger
from sluice.ledger.reads import AsyncReads
from sluice.ledger.state import RedisState
from sluice.ledger.timeline import RedisTimeline, Timeline
from sluice.metrics.observer import Observer
from sluice.outbound.guard import Guard
from sluice.prediction import Prediction
from sluice.redisio.kept_models import RedisKeptModels
from sluice.redisio.multiplexed import MultiplexedConnection
from sluice.settings import Settings
from sluice.stores import Stores, watch_redis
from sluice.tracing import Tracer, open_tracer
from sluice.tracing.current import current_trace_id
from sluice.webhooks.secrets import RedisSecrets, Secrets

_TRITON_TIMEOUT_S = 2.0
_READS_AT_ONCE = 16
_SUBMISSIONS_AT_ONCE = 8  # more threads would only wait for the interpreter's lock, and for Redis


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything that the process holds open. A route takes single services of it, as below."""

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
    fast_intake: FastIntake | None
    """None with S3 and in tests: the fast intake needs images in a real Redis."""
    arrivals: Arrivals = field(default_factory=Arrivals)
    async_reads: AsyncReads | None = None
    """None in tests, whose records are in memory."""
    deliveries: Deliveries
    secrets: Secrets
    batches: Batches
    timeline: Timeline
    batch_slots: anyio.CapacityLimiter
    files: Files
    tracer: Tracer | None = None
    """None with tracing off."""
    observer: Observer
    """Reads Redis for a scrape of the metrics."""
    metrics: Metrics = field(default_factory=lambda: Metrics(current_trace_id))
    reads: Bulkhead = field(default_factory=lambda: Bulkhead(_READS_AT_ONCE))
    submissions: Bulkhead = field(default_factory=lambda: Bulkhead(_SUBMISSIONS_AT_ONCE))

    async def read(self, prediction_id: str, key: str | None) -> Prediction:
        """`Ledger.get`. Raises NotFound, Gone, RedisUnavailable."""
        if self.async_reads is None:
            return await self.reads.run(self.ledger.get, prediction_id, key)
        return await self.reads.run_async(self.async_reads.get, prediction_id, key)

    @cached_property
    def submitting(self) -> Submitting:
        return Submitting(
            ledger=self.ledger,
            intake=self.intake,
            fast_intake=self.fast_intake,
            arrivals=self.arrivals,
            files=self.files,
            guard=self.guard,
            catalog=self.catalog,
            queue_load=self.queue_load,
            bulkhead=self.submissions,
            limits=self.settings.limits,
            default_model=self.settings.api.model,
            id_prefix=self.settings.queue.id_prefix,
            with_tickets=self.settings.api.keys_file is not None,
            metrics=self.metrics.http,
        )

    @cached_property
    def batch_submitting(self) -> BatchSubmitting:
        return BatchSubmitting(
            submitting=self.submitting,
            batches=self.batches,
            events=self.events,
            slots=self.batch_slots,
        )

    @cached_property
    def following(self) -> Following:
        return Following(
            read=self.read,
            events=self.events,
            queue_load=self.queue_load,
            followers=Followers(self.settings.api.max_followers),
            max_wait_s=self.settings.api.max_wait_s,
        )


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """The services, connected on first use and closed at the end."""
    async with AsyncExitStack() as stack:
        stores = Stores.open(settings, settings.redis.timeout_s)
        stack.push_async_callback(anyio.to_thread.run_sync, stores.close)
        stack.callback(await anyio.to_thread.run_sync(watch_redis, stores, settings))
        events = RedisEvents(settings.redis_address(settings.redis.timeout_s), settings.queue.name)
        events.start()
        stack.push_async_callback(events.stop)
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=settings.triton.http_url, timeout=_TRITON_TIMEOUT_S)
        )
        tracer = open_tracer(settings.tracing, "api")
        if tracer:
            stack.push_async_callback(anyio.to_thread.run_sync, tracer.close)
        small = _connection_for_small_calls(settings, stack)
        arrivals = Arrivals()
        yield Services(
            settings=settings,
            ledger=stores.ledger,
            blobs=stores.blobs,
            intake=stores.intake,
            events=events,
            catalog=TritonCatalog(
                http,
                RedisKeptModels(
                    stores.redis, settings.queue.name, ttl_s=settings.api.models_kept_s
                ),
                ttl_s=settings.triton.models_ttl_s,
            ),
            keys=Keys(settings.api.keys_file),
            limiter=RedisRateLimiter(stores.redis, settings.queue.name),
            history=RedisHistory(stores.redis, settings.queue.name),
            guard=Guard(settings.netguard.allow),
            queue_load=QueueLoadCache(stores.ledger),
            fast_intake=None
            if settings.blobs.bucket
            else _fast_intake(settings, stores, small, arrivals, stack),
            arrivals=arrivals,
            async_reads=AsyncReads(small, settings.queue.name),
            deliveries=RedisDeliveries(stores.redis, settings.queue.name, settings.webhooks),
            tracer=tracer,
            secrets=RedisSecrets(stores.redis, settings.queue.name),
            batches=RedisBatches(stores.redis, settings.queue, stores.replication),
            timeline=RedisTimeline(stores.redis, settings.queue),
            batch_slots=anyio.CapacityLimiter(settings.limits.batches_at_once),
            files=RedisFiles(
                stores.redis,
                settings.queue.name,
                stores.blobs,
                settings.blobs,
                stores.replication,
                settings.queue.id_prefix,
            ),
            observer=_observer(settings, stores),
        )


def _observer(settings: Settings, stores: Stores) -> Observer:
    servers = {"ledger": stores.redis}
    if stores.blobs_redis is not None and settings.blobs.redis_address():
        servers["blobs"] = stores.blobs_redis
    return Observer(stores.ledger, RedisState(stores.redis, settings.queue), servers)


def _connection_for_small_calls(settings: Settings, stack: AsyncExitStack) -> MultiplexedConnection:
    """For what waits for no replicas, and not behind images that are on their way to Redis."""
    connection = MultiplexedConnection(settings.redis_address(settings.redis.timeout_s))
    stack.callback(connection.close)
    return connection


def _fast_intake(
    settings: Settings,
    stores: Stores,
    small: MultiplexedConnection,
    arrivals: Arrivals,
    stack: AsyncExitStack,
) -> FastIntake:
    threads = stack.enter_context(
        ThreadPoolExecutor(_SUBMISSIONS_AT_ONCE, thread_name_prefix="intake")
    )
    ledger = settings.redis_address(settings.redis.timeout_s)
    blobs = settings.blobs_address(settings.redis.timeout_s)
    connections = {
        address: MultiplexedConnection(address, stores.replication) for address in (ledger, blobs)
    }
    for connection in connections.values():
        stack.callback(connection.close)
    return FastIntake(
        stores.ledger,
        connections[ledger],
        connections[blobs] if len(connections) > 1 else None,
        blob_ttl_s=settings.blobs.ttl_s,
        ring=Coalescer(AsyncDoorbell(stores.doorbell, small).ring, arrivals.are_many),
        expire_orphan=lambda blob_key: threads.submit(stores.intake.expire_orphan, blob_key),
        id_prefix=settings.queue.id_prefix,
    )


def _dependency(pick: Callable[[Services], object]) -> Any:
    async def service(request: Request) -> object:
        """Async, since FastAPI runs other functions on a thread."""
        return pick(request.app.state.services)

    return Depends(service)


SettingsDep = Annotated[Settings, _dependency(lambda services: services.settings)]
LedgerDep = Annotated[Ledger, _dependency(lambda services: services.ledger)]
BlobsDep = Annotated[Blobs, _dependency(lambda services: services.blobs)]
IntakeDep = Annotated[Intake, _dependency(lambda services: services.intake)]
EventsDep = Annotated[Events, _dependency(lambda services: services.events)]
CatalogDep = Annotated[Catalog, _dependency(lambda services: services.catalog)]
KeysDep = Annotated[Keys, _dependency(lambda services: services.keys)]
LimiterDep = Annotated[RateLimiter, _dependency(lambda services: services.limiter)]
HistoryDep = Annotated[History, _dependency(lambda services: services.history)]
GuardDep = Annotated[Guard, _dependency(lambda services: services.guard)]
QueueLoadDep = Annotated[QueueLoadCache, _dependency(lambda services: services.queue_load)]
DeliveriesDep = Annotated[Deliveries, _dependency(lambda services: services.deliveries)]
SecretsDep = Annotated[Secrets, _dependency(lambda services: services.secrets)]
BatchesDep = Annotated[Batches, _dependency(lambda services: services.batches)]
FilesDep = Annotated[Files, _dependency(lambda services: services.files)]
ReadsDep = Annotated[Bulkhead, _dependency(lambda services: services.reads)]
TimelineDep = Annotated[Timeline, _dependency(lambda services: services.timeline)]
SubmissionsDep = Annotated[Bulkhead, _dependency(lambda services: services.submissions)]
MetricsDep = Annotated[Metrics, _dependency(lambda services: services.metrics)]
ObserverDep = Annotated[Observer, _dependency(lambda services: services.observer)]
FollowingDep = Annotated[Following, _dependency(lambda services: services.following)]
SubmittingDep = Annotated[Submitting, _dependency(lambda services: services.submitting)]
BatchSubmittingDep = Annotated[
    BatchSubmitting, _dependency(lambda services: services.batch_submitting)
]


def base_url(request: Request) -> str:
    """The URL at which the client reaches the api, without a slash at its end."""
    services: Services = request.app.state.services
    return base_url_of(request, services.settings.api)
