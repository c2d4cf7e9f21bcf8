"""The two most frequent calls without the cost of FastAPI's layers.

The calls are `POST /v1/predictions` and `GET /v1/predictions/{id}`.
See docs/decisions/0018-fast-path.md and docs/decisions/0087-reads-on-the-event-loop.md.
"""

import re
import time

from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from api import errors, tracing
from api.auth import api_key, submitter
from api.deps import Services
from api.routes.predictions import get
from api.routes.submissions import submit

_SUBMIT = "/v1/predictions"
_GET = f"{_SUBMIT}/{{id}}"
_ONE = re.compile(f"{_SUBMIT}/([a-z0-9-]{{1,64}})")
_WAIT = re.compile(rb"(?:wait=(\d{1,6}(?:\.\d{1,6})?))?")
_CLIENT_GONE = 499  # as nginx calls it; no client sees this status


class FastPath:
    """ASGI. Calls the handlers of two routes itself, and passes all else to `app`.

    A reading whose query has more than a plain `wait` goes to `app` too.
    """

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            method, path = scope["method"], scope["path"]
            if method == "POST" and path == _SUBMIT:
                await self._submit(scope, receive, send)
                return
            if (
                method == "GET"
                and (one := _ONE.fullmatch(path))
                and (wait := _WAIT.fullmatch(scope["query_string"]))
            ):
                await self._get(one[1], float(wait[1] or 0), scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _submit(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = time.perf_counter()
        scope["app"] = self.app
        request = Request(scope, receive, send)
        services: Services = self.app.state.services
        trace = tracing.begin(services.tracer, scope)
        try:
            caller = await submitter(services.limiter, services.keys.caller(api_key(request)))
            response = await submit(request, caller, services.submitting, services.following)
        except ClientDisconnect:
            tracing.end("POST", _SUBMIT, _CLIENT_GONE)
            return  # no client is left to answer
        except Exception as error:
            response = await errors.answer(request, error)
        if trace:
            response.headers["traceparent"] = trace.traceparent
        await response(scope, receive, send)
        tracing.end("POST", _SUBMIT, response.status_code)
        self._count("POST", _SUBMIT, response.status_code, start, scope)

    async def _get(
        self, prediction_id: str, wait_s: float, scope: Scope, receive: Receive, send: Send
    ) -> None:
        start = time.perf_counter()
        scope["app"] = self.app
        request = Request(scope, receive, send)
        services: Services = self.app.state.services
        try:
            response = await get(
                prediction_id,
                request,
                services.following,
                services.queue_load,
                services.keys.caller(api_key(request)),
                wait_s,
                request.headers.get("if-none-match"),
            )
        except Exception as error:
            response = await errors.answer(request, error)
        await response(scope, receive, send)
        self._count("GET", _GET, response.status_code, start, scope)

    def _count(self, method: str, route: str, status: int, start: float, scope: Scope) -> None:
        services: Services = self.app.state.services
        seconds = time.perf_counter() - start
        code = scope.get(errors.PROBLEM)
        services.metrics.http.answered(method, route, status, seconds, code)
