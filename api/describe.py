"""What OpenAPI says of answers beside the good one."""

from http import HTTPStatus
from typing import Any

from api.schemas import ProblemAnswer

Responses = dict[int | str, dict[str, Any]]

_INTEGER = {"schema": {"type": "integer", "minimum": 1}}
_STRING = {"schema": {"type": "string"}}
LOCATION = {"Location": {**_STRING, "description": "The prediction."}}
RETRY_AFTER = {"Retry-After": {**_INTEGER, "description": "Seconds after which it is worth asking again."}}
ETAG = {"ETag": {**_STRING, "description": "Send it as `If-None-Match` to hear only of changes."}}
_HEADERS = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": _STRING},
    HTTPStatus.TOO_MANY_REQUESTS: RETRY_AFTER,
    HTTPStatus.SERVICE_UNAVAILABLE: RETRY_AFTER,
}
_ALWAYS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE)


def problems(*statuses: HTTPStatus) -> Responses:
    """The errors that a route may answer with, beside those of every route that asks for a key."""
    found: Responses = {}
    for status in sorted({*statuses, *_ALWAYS}):
        content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemAnswer"}}}
        found[int(status)] = {
            "description": status.phrase,
            "model": ProblemAnswer,
            "content": content,
            "headers": _HEADERS.get(status, {}),
        }
    return found
