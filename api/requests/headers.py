"""The headers of a submission: their types for OpenAPI, and their grammar.

The declared types check nothing, so that every way in gives the same answer to a wrong header.
"""

import math
import re
from typing import Annotated

from fastapi import Header, Query, Request
from starlette.datastructures import Headers

from sluice.access.keys import Caller
from sluice.errors import InvalidInput
from sluice.ids import derived_id

_MAX_KEY_CHARS = 255

Prefer = Annotated[
    str | None,
    Header(
        description="`wait=N` holds the answer until the prediction has ended, at most N seconds."
        " `respond-async` does not.",
        examples=["wait=10"],
    ),
]
CancelAfter = Annotated[
    str | None,
    Header(
        description="A prediction that has not started after this time is aborted:"
        " seconds, or `90s`, `5m`, `1h30m`.",
        examples=["5m"],
        json_schema_extra={
            "pattern": r"^[1-9]\d{0,5}(h([1-9]\d{0,5}m)?([1-9]\d{0,5}s?)?|m([1-9]\d{0,5}s?)?|s)?$"
        },
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        description="The same submission with the same key is one prediction."
        " A different submission with that key is refused.",
        json_schema_extra={"minLength": 1, "maxLength": _MAX_KEY_CHARS},
    ),
]


Wait = Annotated[
    str | None,
    Query(
        description="The same as `Prefer: wait=N`: holds the answer until the prediction has"
        " ended, at most so many seconds.",
        examples=["10"],
        json_schema_extra={"pattern": r"^\d{1,6}(\.\d{1,6})?$"},
    ),
]


async def declare(
    prefer: Prefer = None, cancel_after: CancelAfter = None, wait: Wait = None
) -> None:
    """A dependency that shows the headers in OpenAPI. The handler reads them from the request."""


async def declare_with_key(
    prefer: Prefer = None,
    cancel_after: CancelAfter = None,
    idempotency_key: IdempotencyKey = None,
    wait: Wait = None,
) -> None:
    """The same as `declare`, with `Idempotency-Key`."""


async def declare_for_batch(
    cancel_after: CancelAfter = None, idempotency_key: IdempotencyKey = None
) -> None:
    """The same as `declare`, with the headers of a batch."""


def content_type(request: Request) -> str:
    """The media type of the body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def declared_bytes(request: Request) -> int | None:
    """The length of the body by `Content-Length`, or None."""
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdecimal() else None


def wait_s(request: Request, max_wait_s: float) -> float:
    """The seconds that `Prefer` (RFC 7240) or `wait` in the query ask to wait.

    Of several preferences the first `wait` counts. A preference that is not understood is ignored,
    as the RFC demands. Raises InvalidInput for a wrong `wait` in the query.
    """
    text = request.query_params.get("wait") if request.scope["query_string"] else None
    if text is not None:
        return min(max_wait_s, _seconds(text))
    for preference in ",".join(request.headers.getlist("prefer")).split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            try:
                seconds = float(value.strip().strip('"')) if value else max_wait_s
            except ValueError:
                return 0.0
            return min(max_wait_s, max(0.0, seconds))
    return 0.0


def _seconds(text: str) -> float:
    """Raises InvalidInput."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not (seconds >= 0 and math.isfinite(seconds)):
        raise InvalidInput("wait: give a number of seconds, such as 10")
    return seconds


def start_within_s(headers: Headers) -> float | None:
    """The seconds that `Cancel-After` gives, such as `90`, `90s`, `5m` or `1h30m`.

    Raises InvalidInput.
    """
    text = headers.get("cancel-after")
    if text is None:
        return None
    match = re.fullmatch(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s?)?", text.strip())
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    total = hours * 3600 + minutes * 60 + seconds
    if total <= 0:
        raise InvalidInput(
            "Cancel-After: give a time of at least one second, such as 90, 90s, 5m or 1h30m"
        )
    return float(total)


def idempotent_id(headers: Headers, caller: Caller, id_prefix: str, kind: str = "") -> str | None:
    """The id that `Idempotency-Key` stands for, or None without that header.

    After the prefix, the id depends on the caller's name, the key and `kind` only: every api
    process derives the same one. Raises InvalidInput.
    """
    idempotency_key = headers.get("idempotency-key")
    if idempotency_key is None:
        return None
    if not 1 <= len(idempotency_key) <= _MAX_KEY_CHARS:
        raise InvalidInput(f"Idempotency-Key: give 1 to {_MAX_KEY_CHARS} characters")
    return derived_id(id_prefix, caller.name, f"{idempotency_key}{kind}")
