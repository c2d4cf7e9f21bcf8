"""The one table from errors to HTTP statuses, and the shape of every error: RFC 9457."""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from sluice import errors, logs
from sluice.logs.setup import mark_logged

log = logs.get(__name__)

PROBLEM = "sluice.problem"
"""The key of a request's scope under which its problem's code is, for metrics."""

STATUSES: Mapping[type[errors.SluiceError], HTTPStatus] = {
    errors.SluiceError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NotAnImage: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.TruncatedImage: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ImageTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.ImageNotFetched: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.AddressNotAllowed: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UploadTooSlow: HTTPStatus.REQUEST_TIMEOUT,
    errors.OutputTooLarge: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TooManyTiles: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UnknownModel: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UnsupportedModel: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.Unauthorized: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Gone: HTTPStatus.GONE,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.IdReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.LeaseLost: HTTPStatus.CONFLICT,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.QueueFull: HTTPStatus.TOO_MANY_REQUESTS,
    errors.RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    errors.TooManyFiles: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.RedisUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ReplicasMissing: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.BlobsUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.TritonUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ImageUnreachable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DeadlineExceeded: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ImageExpired: HTTPStatus.GONE,
    errors.InferenceFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.LocalStackError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.RepositoryError: HTTPStatus.INTERNAL_SERVER_ERROR,
}


_NO_SUCH_FIELD = "there is no such field; /docs has the fields"
_MAX_ERRORS = 20  # in one answer
_MAX_TEXT_CHARS = 1000  # a problem may quote the request, which may have megabytes


def problem(
    status: int,
    code: str,
    detail: str,
    errors: Sequence[Mapping[str, Any]] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An answer for an error. `errors` has an entry for each wrong field."""
    body: dict[str, Any] = {
        "type": f"urn:sluice:error:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": _truncate(detail),
        "code": code,
    }
    if errors:
        body["errors"] = errors
    return JSONResponse(body, status, headers=headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Answer every error of `app` as a problem."""
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)


async def answer(request: Request, error: Exception) -> Response:
    """The answer to an error that was raised outside FastAPI."""
    for kind in type(error).__mro__:
        if kind in _HANDLERS:
            return await _HANDLERS[kind](request, error)
    raise error


async def _handle_sluice_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.SluiceError)
    request.scope[PROBLEM] = error.code
    headers = {}
    if isinstance(error, errors.Unavailable):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, errors.Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return problem(STATUSES[type(error)], error.code, error.message, headers=headers)


def _truncate(text: str) -> str:
    return text if len(text) <= _MAX_TEXT_CHARS else text[:_MAX_TEXT_CHARS] + "…"


async def _handle_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError | ValidationError)
    request.scope[PROBLEM] = errors.InvalidInput.code
    fields = [
        {
            "field": _truncate(".".join(str(part) for part in entry["loc"])),
            "message": _NO_SUCH_FIELD
            if entry["type"] == "extra_forbidden"
            else _truncate(entry["msg"]),
        }
        for entry in error.errors()[:_MAX_ERRORS]
    ]
    detail = "; ".join(
        f"{entry['field']}: {entry['message']}" if entry["field"] else entry["message"]
        for entry in fields
    )
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, errors.InvalidInput.code, detail, fields)


async def _handle_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    request.scope[PROBLEM] = code
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = [name for name in ("DELETE", "GET", "POST", "PUT") if _allows(request, name)]
        headers["Allow"] = ", ".join(sorted([*allowed, *(["HEAD"] if "GET" in allowed else [])]))
    return problem(error.status_code, code, str(error.detail), headers=headers)


def _allows(request: Request, method: str) -> bool:
    """True if any route of the path has this method. FastAPI's answer names one route's only."""
    return any(
        route.matches({**request.scope, "method": method})[0] is Match.FULL
        for route in request.app.routes
    )


async def _handle_unexpected(request: Request, error: Exception) -> JSONResponse:
    log.failure(
        "request_failed",
        "a request met an unexpected error",
        error,
        method=request.method,
        path=request.url.path,
    )
    mark_logged(error)
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        errors.SluiceError.code,
        "an internal error; the api's log has the details",
    )


_HANDLERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    errors.SluiceError: _handle_sluice_error,
    RequestValidationError: _handle_validation,
    ValidationError: _handle_validation,
    HTTPException: _handle_http,
    Exception: _handle_unexpected,
}
