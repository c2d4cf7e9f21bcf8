"""What the routes work with, built once for the process."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

import anyio.to_thread
import httpx
from fastapi import Depends, Request

from api.catalog import Catalog
from sluice import redisio
from sluice.blobs import Blobs, RedisBlobs
from sluice.events import Events
from sluice.intake import Intake
from sluice.ledger import Ledger, RedisLedger
from sluice.queue import CeleryDoorbell, make_app
from sluice.settings import Settings

_TRITON_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Services:
    settings: Settings
    ledger: Ledger
    blobs: Blobs
    intake: Intake
    events: Events
    catalog: Catalog


@asynccontextmanager
async def services(settings: Settings) -> AsyncIterator[Services]:
    """Everything that the api holds open, connected on first use and closed at the end."""
    timeouts = {"connect_timeout_s": settings.redis.connect_timeout_s, "timeout_s": settings.redis.timeout_s}
    async with AsyncExitStack() as stack:
        client = redisio.connect(settings.redis_url, **timeouts)
        stack.push_async_callback(anyio.to_thread.run_sync, client.close)
        blobs_client = redisio.connect(settings.blobs_url, **timeouts)
        stack.push_async_callback(anyio.to_thread.run_sync, blobs_client.close)
        queue = settings.queue.name
        app = make_app(settings.redis_url, queue, **timeouts)
        stack.callback(app.close)
        ledger, blobs = RedisLedger(client, settings.queue), RedisBlobs(blobs_client)
        events = Events(settings.redis_url, queue, connect_timeout_s=settings.redis.connect_timeout_s)
        events.start()
        stack.push_async_callback(events.stop)
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=settings.triton.http_url, timeout=_TRITON_TIMEOUT_S))
        yield Services(
            settings,
            ledger,
            blobs,
            Intake(
                ledger,
                blobs,
                CeleryDoorbell(app, client, queue),
                blob_ttl_s=settings.blobs.ttl_s,
                orphan_ttl_s=settings.blobs.orphan_ttl_s,
            ),
            events,
            Catalog(http, ttl_s=settings.triton.models_ttl_s),
        )


def _services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


ServicesDep = Annotated[Services, Depends(_services)]
