"""`POST /v1/predictions` without the cost of FastAPI's layers.

See docs/decisions/0018-fast-path.md.
"""

import time

from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from api import errors, tracing
from api.auth import api_key, submitter
from api.deps import Services
from api.routes.submissions import submit

_PATH = "/v1/predictions"
_CLIENT_GONE = 499  # as nginx calls it; no client sees this status


class FastPath:
    """ASGI. Calls the handler of `POST /v1/predictions` itself, and passes all else to `app`."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != _PATH:
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        scope["app"] = self.app
        request = Request(scope, receive, send)
        services: Services = self.app.state.services
        trace = tracing.begin(services.tracer, scope)
        try:
            caller = await submitter(services.limiter, services.keys.caller(api_key(request)))
            response = await submit(request, caller, services.submitting, services.following)
        except ClientDisconnect:
            tracing.end("POST", _PATH, _CLIENT_GONE)
            return  # no client is left to answer
        except Exception as error:
            response = await errors.answer(request, error)
        if trace:
            response.headers["traceparent"] = trace.traceparent
        await response(scope, receive, send)
        tracing.end("POST", _PATH, response.status_code)
        seconds = time.perf_counter() - start
        code = scope.get(errors.PROBLEM)
        services.metrics.http.answered("POST", _PATH, response.status_code, seconds, code)
