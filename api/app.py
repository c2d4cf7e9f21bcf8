"""The api process: `python -m api`."""

import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from api import deps, errors, openapi
from api.connection import Connection
from api.fast_path import FastPath
from api.metrics import Measured, Metrics
from api.requests.schemas import BatchRequest, PredictionRequest
from api.routes import batches, files, health, models, predictions, queue, submissions, webhooks
from sluice.access import keys
from sluice.settings import Settings
from sluice.telemetry import configure_logging

_DESCRIPTION = """YOLO models behind a queue.
Submit an image, get an id in milliseconds, and read the result when it is ready.
Every error is an `application/problem+json` with a stable `code`."""


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
        version=version("sluice"),
        lifespan=lifespan,
        generate_unique_id_function=lambda route: f"{route.tags[0]}_{route.name}".rstrip("_"),
    )
    errors.install(app)
    app.state.metrics = Metrics()
    app.add_middleware(Measured, metrics=app.state.metrics)
    app.include_router(submissions.router)
    app.include_router(predictions.router)
    app.include_router(batches.router)
    app.include_router(models.router)
    app.include_router(files.router)
    app.include_router(queue.router)
    app.include_router(webhooks.router)
    app.webhooks.include_router(webhooks.events)
    app.include_router(health.router)
    return app


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            keys_file = self.state.services.settings.api.keys_file
            openapi.complete(
                super().openapi(), (PredictionRequest, BatchRequest), keys=keys_file is not None
            )
        return super().openapi()


class _Server(uvicorn.Server):
    """Answers long polls with the present status when it is told to stop. uvicorn would wait."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        fast_path = self.config.app
        if isinstance(fast_path, FastPath) and (
            services := getattr(fast_path.app.state, "services", None)
        ):
            services.events.close()
        super().handle_exit(sig, frame)


def main() -> None:
    """Serve until SIGTERM or SIGINT. Open requests get `SLUICE_API_DRAIN_S` to end.

    Raises ValueError for a wrong setting.
    """
    settings = Settings.from_env()
    keys.check(settings.api)
    configure_logging()
    config = uvicorn.Config(
        FastPath(create_app(settings)),
        host=settings.api.host,
        port=settings.api.port,
        http=Connection,
        timeout_graceful_shutdown=int(settings.api.drain_s),
        access_log=False,
        log_config=None,
    )
    _Server(config).run()
