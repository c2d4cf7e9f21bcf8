"""Probes and metrics, for the operator."""

import asyncio
from collections.abc import Awaitable
from http import HTTPStatus

import anyio.to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api.connection import State
from api.deps import (
    BlobsDep,
    CatalogDep,
    EventsDep,
    FollowingDep,
    LedgerDep,
    MetricsDep,
    ObserverDep,
    QueueLoadDep,
)
from api.traffic.load import QueueLoadCache
from sluice.errors import Unavailable
from sluice.prediction import isoformat
from sluice.redisio.health import without_addresses

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Answers while this process runs.

    No other service is checked, since a restart of this process would not repair it.
    """
    return {"status": "ok"}


@router.get(
    "/readyz", responses={503: {"description": "A service is unavailable; the answer names it."}}
)
async def readyz(
    request: Request,
    ledger: LedgerDep,
    blobs: BlobsDep,
    catalog: CatalogDep,
    events: EventsDep,
    queue_load: QueueLoadDep,
) -> JSONResponse:
    """Answers 200 while predictions can be submitted and read.

    Redis and the images' store have to take writes. Triton has to answer, or a list of its models
    has to be known: submissions then wait for Triton. `warnings` says so, and what endangers
    accepted predictions, such as a Redis that evicts. Workers that lack Triton or the images'
    store are counted there too.
    An api that was told to end answers 503, with the status `ending`.
    """
    if events.closing:
        return JSONResponse({"status": "ending"}, HTTPStatus.SERVICE_UNAVAILABLE)
    # Together, not in turn: each may take its whole timeout, and the probe has one too.
    health, blobs_answer, outage, troubled = await asyncio.gather(
        anyio.to_thread.run_sync(ledger.health),
        _check(anyio.to_thread.run_sync(blobs.check)),
        catalog.outage(),
        _troubled_workers(queue_load),
    )
    redis = "; ".join(f"Redis {without_addresses(text)}" for text in health.faults) or "ok"
    results = {"redis": redis, "blobs": blobs_answer, "triton": outage.message if outage else "ok"}
    warnings = [f"Redis {text}" for text in health.warnings]
    if outage and outage.list_at:
        warnings.append(_warning(outage.since, outage.list_at))
    if troubled:
        warnings.append(troubled)
    state: State | None = request.app.state.connections
    if state and state.is_full:
        warnings.append(
            f"{len(state.connections)} connections are open, and this process takes"
            f" {state.max_connections}; other requests get 503"
        )
    ok = redis == blobs_answer == "ok" and (outage is None or outage.list_at is not None)
    return JSONResponse(
        {
            "status": "ok" if ok else "unavailable",
            **results,
            **({"warnings": warnings} if warnings else {}),
        },
        HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE,
    )


def _warning(silent_since: float, list_at: float) -> str:
    return (
        f"Triton does not answer since {isoformat(silent_since)}; submissions are accepted and"
        f" wait; the list of models is of {isoformat(list_at)}"
    )


async def _troubled_workers(queue_load: QueueLoadCache) -> str:
    try:
        load = await queue_load.load()
    except Unavailable:  # `health` says why
        return ""
    if not load.troubled:
        return ""
    return f"{load.troubled} of {load.workers} workers can't reach Triton or the images' store"


async def _check(check: Awaitable[object]) -> str:
    try:
        await check
    except Unavailable as error:
        return error.message
    return "ok"


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(
    request: Request, process_metrics: MetricsDep, observer: ObserverDep, following: FollowingDep
) -> Response:
    """Metrics of this process and of the queue, for Prometheus.

    An unavailable Redis is a metric too: the answer then lacks those of the queue.
    """
    state: State | None = request.app.state.connections
    text, content_type = process_metrics.text(
        await anyio.to_thread.run_sync(observer.read),
        connections=len(state.connections) if state else 0,
        followers=following.followers.count,
        accept=request.headers.get("accept", ""),
    )
    return Response(text, media_type=content_type)
