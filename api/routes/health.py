"""For whoever runs the service."""

import asyncio
from collections.abc import Awaitable
from http import HTTPStatus

import anyio.to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api.deps import ServicesDep
from api.metrics import CONTENT_TYPE
from sluice.errors import Unavailable

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process runs. It asks nothing of others: a restart of this process would not bring them back."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "A part is away; the answer names it."}})
async def readyz(services: ServicesDep) -> JSONResponse:
    """The ledger's Redis, the images' and Triton can be reached."""
    asked = {
        "redis": _said(anyio.to_thread.run_sync(services.ledger.backlog)),
        "blobs": _said(anyio.to_thread.run_sync(services.blobs.get, "readyz")),
        "triton": _said(services.catalog.ready()),
    }  # side by side: each may take its whole time-out, and whoever probes has one too
    parts = dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))
    ok = all(said == "ok" for said in parts.values())
    return JSONResponse(
        {"status": "ok" if ok else "unavailable", **parts},
        HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE,
    )


async def _said(asked: Awaitable[object]) -> str:
    try:
        await asked
    except Unavailable as error:
        return error.message
    return "ok"


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request, services: ServicesDep) -> Response:
    """What Prometheus scrapes of this process, and of the queue."""
    return Response(
        request.app.state.metrics.text(await services.queue_load.load()), media_type=CONTENT_TYPE
    )
