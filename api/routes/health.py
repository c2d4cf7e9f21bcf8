"""For whoever runs the service."""

from http import HTTPStatus

import anyio.to_thread
from fastapi import APIRouter
from fastapi.responses import JSONResponse

from api.deps import ServicesDep
from sluice.errors import Unavailable

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process runs. It asks nothing of others: a restart of this process would not bring them back."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "A part is away; the answer names it."}})
async def readyz(services: ServicesDep) -> JSONResponse:
    """Redis and Triton can be reached."""
    parts = {"redis": "ok", "triton": "ok"}
    try:
        await anyio.to_thread.run_sync(services.ledger.backlog)
    except Unavailable as error:
        parts["redis"] = error.message
    try:
        await services.catalog.ready()
    except Unavailable as error:
        parts["triton"] = error.message
    ok = all(said == "ok" for said in parts.values())
    return JSONResponse({"status": "ok" if ok else "unavailable", **parts}, HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE)
