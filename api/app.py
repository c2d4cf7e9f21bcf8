"""The api process: `python -m api`."""

import gc
import math
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from api import deps, errors, openapi
from api.connection import Connection, State, listen
from api.fast_path import FastPath
from api.metrics import Measured
from api.requests.schemas import BatchRequest, PredictionRequest
from api.routes import (
    batches,
    dead_letters,
    docs,
    files,
    health,
    models,
    predictions,
    queue,
    submissions,
    webhooks,
)
from api.routing import Routing
from api.server import Server, raise_file_limit
from api.tracing import Traced
from sluice import __version__, logs
from sluice.access import keys
from sluice.settings import Settings

_PREFLIGHT_S = 3600  # for which a browser need not ask again
_DESCRIPTION = """YOLO models behind a queue.
Submit an image, get an id in milliseconds, and read the result when it is ready.
Every error is an `application/problem+json` with a stable `code`."""


def _operation_id(route: APIRoute) -> str:
    """Return a name that generated clients can use for a function."""
    return f"{route.tags[0]}_{route.name}".rstrip("_").replace("-", "_")


def create_app(
    settings: Settings | None = None,
    build: Callable[[Settings], AbstractAsyncContextManager[deps.Services]] = deps.open_services,
) -> FastAPI:
    """The application. `build` opens its services when it starts.

    Without `settings`, the environment is read at the start.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with build(settings or Settings.from_env()) as services:
            app.state.services = services
            gc.collect()
            gc.freeze()  # objects made until now live on; later collections skip them
            yield

    app = _Api(
        title="Sluice",
        description=_DESCRIPTION,
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load their scripts from another host
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    errors.install(app)
    app.state.connections = None  # of the server, which tests have none of
    app.add_middleware(Measured)
    app.add_middleware(Traced)
    app.add_middleware(Routing)
    app.include_router(submissions.router)
    app.include_router(predictions.router)
    app.include_router(batches.router)
    app.include_router(models.router)
    app.include_router(files.router)
    app.include_router(queue.router)
    app.include_router(dead_letters.router)
    app.include_router(webhooks.router)
    app.webhooks.include_router(webhooks.events)
    app.include_router(health.router)
    app.include_router(docs.router)
    return app


def with_cors(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """The application for pages of `origins` too; `*` stands for all. None where empty."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["DELETE", "GET", "HEAD", "POST", "PUT"],
        allow_headers=["*"],
        expose_headers=["ETag", "Location", "Preference-Applied", "Retry-After", "traceparent"],
        max_age=_PREFLIGHT_S,
    )


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            api = self.state.services.settings.api
            schema = super().openapi()
            openapi.complete(
                schema, (PredictionRequest, BatchRequest), keys=api.keys_file is not None
            )
            if api.public_url:
                schema["servers"] = [{"url": api.public_url}]
        return super().openapi()


def main() -> None:
    """Serve until SIGTERM or SIGINT.

    Kept connections get `SLUICE_API_LINGER_S`, and then open requests `SLUICE_API_DRAIN_S` to end.
    Raises SystemExit for a wrong setting, with a message that names it.
    """
    try:
        settings = Settings.from_env()
        keys.check(settings.api)
    except ValueError as error:
        sys.exit(f"the api can't start: {error}")
    logs.configure(settings.log, "api")
    app = create_app(settings)
    config = uvicorn.Config(
        with_cors(FastPath(app), settings.api.cors_origins),
        host=settings.api.host,
        port=settings.api.port,
        http=Connection,
        timeout_keep_alive=math.ceil(settings.api.keep_alive_s),
        timeout_graceful_shutdown=math.ceil(settings.api.drain_s),
        access_log=False,
        log_config=None,
        proxy_headers=False,  # api/base_url.py reads them, from trusted proxies only
    )
    # Redis, Triton and uploads need files too.
    state = State(min(settings.api.max_connections, max(1, raise_file_limit() // 2)))
    app.state.connections = state

    def wake() -> None:
        app.state.services.events.close()  # no services are open before the server runs

    server = Server(config, state, linger_s=settings.api.linger_s, wake=wake)
    server.run(sockets=listen(settings.api.host, settings.api.port))
