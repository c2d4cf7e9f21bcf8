"""The parts of OpenAPI that FastAPI can't derive: errors, headers, links, and raw bodies."""

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.schemas import ProblemAnswer

Responses = dict[int | str, dict[str, Any]]

_INTEGER = {"schema": {"type": "integer", "minimum": 1}}
_STRING = {"schema": {"type": "string"}}
LOCATION = {"Location": {**_STRING, "description": "The prediction."}}
RETRY_AFTER = {"Retry-After": {**_INTEGER, "description": "Seconds after which to ask again."}}
ETAG = {
    "ETag": {
        **_STRING,
        "description": "Send it as `If-None-Match` to get an answer only after a change.",
    }
}
_HEADERS = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": _STRING},
    HTTPStatus.TOO_MANY_REQUESTS: RETRY_AFTER,
    HTTPStatus.SERVICE_UNAVAILABLE: RETRY_AFTER,
}
_ALWAYS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE)


def problems(*statuses: HTTPStatus) -> Responses:
    """The errors that a route may answer with, and those of every route that checks keys."""
    responses: Responses = {}
    for status in sorted({*statuses, *_ALWAYS}):
        content = {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemAnswer"}}
        }
        responses[int(status)] = {
            "description": status.phrase,
            "model": ProblemAnswer,
            "content": content,
            "headers": _HEADERS.get(status, {}),
        }
    return responses


def link(operation: str, **parameters: str) -> dict[str, Any]:
    """A link to a call that can follow. `parameters` are JSON pointers into the answer."""
    return {
        "operationId": operation,
        "parameters": {name: f"$response.body#{pointer}" for name, pointer in parameters.items()},
    }


PREDICTION_LINKS = {
    **{
        name: link(f"predictions_{name}", id="/id") for name in ("get", "cancel", "stream", "image")
    },
    "deliveries": link("webhooks_prediction_deliveries", id="/id"),
}


def complete(schema: dict[str, Any], bodies: Sequence[type[BaseModel]], *, keys: bool) -> None:
    """Add the schemas of `bodies`, which routes read themselves, and correct FastAPI's schema.

    Parameters and form fields are never null, and errors have one content type. Without `keys`, no
    route asks for a key.
    """
    _, definitions = models_json_schema(
        [(body, "validation") for body in bodies], ref_template="#/components/schemas/{model}"
    )
    schema["components"]["schemas"] |= definitions["$defs"]
    if not keys:
        del schema["components"]["securitySchemes"]
    for operation in (
        operation for path in schema["paths"].values() for operation in path.values()
    ):
        for parameter in operation.get("parameters", []):
            _never_null(parameter["schema"])
        form = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data")
        if form:
            form["schema"] = json.loads(
                json.dumps(form["schema"]).replace("#/$defs/", "#/components/schemas/")
            )
            for field in form["schema"]["properties"].values():
                _never_null(field)
        for answer in operation["responses"].values():
            if "application/problem+json" in answer.get("content", {}):
                answer["content"].pop("application/json", None)
        if not keys:
            operation.pop("security", None)
            operation["responses"].pop("401", None)


def _never_null(schema: dict[str, Any]) -> None:
    kinds = [kind for kind in schema.pop("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) == 1:
        schema.update(kinds[0])
    elif kinds:
        schema["anyOf"] = kinds
    if schema.get("default", "") is None:
        del schema["default"]
