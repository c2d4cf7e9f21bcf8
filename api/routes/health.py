"""Probes and metrics, for the operator."""

import asyncio
from collections.abc import Awaitable
from http import HTTPStatus

import anyio.to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api.deps import BlobsDep, CatalogDep, LedgerDep, QueueLoadDep
from api.metrics import CONTENT_TYPE
from sluice.errors import Unavailable
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
async def readyz(ledger: LedgerDep, blobs: BlobsDep, catalog: CatalogDep) -> JSONResponse:
    """Answers 200 while Redis and the images' store take writes, and Triton can be reached.

    `warnings` says what endangers accepted predictions, such as a Redis that evicts.
    """
    # Together, not in turn: each may take its whole timeout, and the probe has one too.
    checks = {
        "blobs": _check(anyio.to_thread.run_sync(blobs.check)),
        "triton": _check(catalog.ready()),
    }
    health, answers = await asyncio.gather(
        anyio.to_thread.run_sync(ledger.health), asyncio.gather(*checks.values())
    )
    redis = "; ".join(f"Redis {without_addresses(text)}" for text in health.faults) or "ok"
    results = {"redis": redis, **dict(zip(checks, answers, strict=True))}
    ok = all(result == "ok" for result in results.values())
    warnings = [f"Redis {text}" for text in health.warnings]
    return JSONResponse(
        {
            "status": "ok" if ok else "unavailable",
            **results,
            **({"warnings": warnings} if warnings else {}),
        },
        HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE,
    )


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
async def metrics(request: Request, queue_load: QueueLoadDep) -> Response:
    """Metrics of this process and of the queue, for Prometheus."""
    return Response(
        request.app.state.metrics.text(await queue_load.load()), media_type=CONTENT_TYPE
    )
