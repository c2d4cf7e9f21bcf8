"""Submitted predictions: following, listing, canceling, and the annotated image."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BeforeValidator

from api.auth import CallerDep, StreamCallerDep, require_operator
from api.deps import (
    BlobsDep,
    FollowingDep,
    HistoryDep,
    IntakeDep,
    KeysDep,
    LedgerDep,
    QueueLoadDep,
    base_url,
)
from api.follow import KINDS
from api.openapi import ETAG, RETRY_AFTER, problems
from api.pages import CursorQuery, LimitQuery, prediction_page
from api.requests.model_name import parse
from api.requests.schemas import PredictionId
from api.schemas import PredictionPage
from api.traffic.load import clamp
from sluice.access.keys import Caller, Keys
from sluice.blobs.store import annotated_key
from sluice.errors import Conflict, Gone, InvalidInput, NotFound
from sluice.ledger.history import Filter
from sluice.prediction import Status
from sluice.resources import PredictionAnswer

router = APIRouter(prefix="/v1/predictions", tags=["predictions"])

_EVENT = {
    "type": "object",
    "required": ["event", "id", "data"],
    "properties": {
        "event": {"type": "string", "enum": list(KINDS)},
        "id": {"type": "string"},
        "data": {"type": "string", "description": "JSON; for `logs`, text."},
    },
}


def _require_time_of_day(value: object) -> object:
    """Refuse dates and numbers. Pydantic accepts both, and guesses the unit of a number."""
    if isinstance(value, str) and "T" not in value.upper():
        raise ValueError("give a time such as 2026-01-31T12:00:00Z")
    return value


@router.get("", responses=problems(HTTPStatus.FORBIDDEN))
async def list_(
    request: Request,
    history: HistoryDep,
    keys: KeysDep,
    caller: CallerDep,
    cursor: CursorQuery = None,
    limit: LimitQuery = 50,
    status: Annotated[
        Status | None, Query(description="Only predictions with this status.")
    ] = None,
    model: Annotated[str | None, Query(description="Only predictions of this model.")] = None,
    since: Annotated[
        datetime | None,
        BeforeValidator(_require_time_of_day),
        Query(
            description="Only predictions submitted at this time or later. RFC 3339; UTC where no"
            " zone is given."
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        BeforeValidator(_require_time_of_day),
        Query(description="Only predictions submitted before this time."),
    ] = None,
    key_name: Annotated[
        str | None,
        Query(
            alias="key",
            max_length=40,
            description="Only for an operator's key: the predictions of this name; `*` for those of"
            " all names that have keys, and of `default`. By default, your own.",
        ),
    ] = None,
) -> PredictionPage:
    """List your predictions, the newest first, as long as they are kept.

    A batch's predictions are listed by the batch only.
    """
    page = await anyio.to_thread.run_sync(
        history.page,
        _names(key_name, caller, keys),
        cursor,
        limit,
        Filter(status, parse(model).name if model else None, _seconds(since), _seconds(until)),
    )
    return prediction_page(request, page, names_key=caller.operator)


def _seconds(time: datetime | None) -> float | None:
    return time.replace(tzinfo=time.tzinfo or UTC).timestamp() if time else None


def _names(key_name: str | None, caller: Caller, keys: Keys) -> Sequence[str]:
    """The names of the API keys whose predictions are listed. Raises Forbidden."""
    if key_name in (None, caller.name):
        return [caller.name]
    require_operator(caller)
    return keys.names() if key_name == "*" else [key_name]


@router.get(
    "/{id}",
    response_model=PredictionAnswer,
    responses={
        200: {"headers": {**ETAG, **RETRY_AFTER}},
        304: {
            "description": "The prediction has not changed since `If-None-Match`.",
            "headers": ETAG,
        },
        **problems(HTTPStatus.NOT_FOUND, HTTPStatus.GONE),
    },
)
async def get(
    prediction_id: PredictionId,
    request: Request,
    following: FollowingDep,
    queue_load: QueueLoadDep,
    caller: CallerDep,
    wait_s: Annotated[
        float,
        Query(
            alias="wait",
            ge=0,
            description="Holds the answer until the prediction has ended, at most so many seconds.",
        ),
    ] = 0,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """A prediction, now or at its end."""
    prediction = await following.wait(prediction_id, caller.scope, wait_s)
    queued = await queue_load.position(prediction)
    answer = PredictionAnswer.from_prediction(
        prediction, base_url(request), queued, names_key=caller.operator
    )
    body = answer.model_dump_json().encode()
    headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"'}
    if not prediction.status.terminal:
        headers["Retry-After"] = str(clamp(queued.estimated_wait_s))
    tags = {tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")}
    if headers["ETag"] in tags or "*" in tags:
        return Response(None, HTTPStatus.NOT_MODIFIED, headers)
    return Response(body, headers=headers, media_type="application/json")


@router.post(
    "/{id}/cancel",
    response_model=PredictionAnswer,
    responses=problems(*map(HTTPStatus, (404, 409, 410))),
)
async def cancel(
    prediction_id: PredictionId, request: Request, intake: IntakeDep, caller: CallerDep
) -> Response:
    """Cancel a prediction that is queued or running; `canceled_from` tells which.

    A queued prediction never starts. A running one stops before its next stage, and its result is
    never recorded.
    """
    prediction = await anyio.to_thread.run_sync(intake.cancel, prediction_id, caller.scope)
    return Response(
        PredictionAnswer.from_prediction(prediction, base_url(request)).model_dump_json(),
        media_type="application/json",
    )


@router.get(
    "/{id}/stream",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": _EVENT}}},
        **problems(HTTPStatus.NOT_FOUND, HTTPStatus.GONE),
    },
)
async def stream(
    prediction_id: PredictionId,
    request: Request,
    ledger: LedgerDep,
    following: FollowingDep,
    caller: StreamCallerDep,
    kinds: Annotated[
        str,
        Query(
            alias="events",
            description=f"The kinds of events, separated by commas: {', '.join(KINDS)}.",
            examples=["status,done"],
            json_schema_extra={"pattern": "^({0})(,({0}))*$".format("|".join(KINDS))},
        ),
    ] = ",".join(KINDS),
    last_event_id: Annotated[
        str,
        Header(description="The id of the last event that arrived. The logs continue after it."),
    ] = "",
) -> StreamingResponse:
    """Server-sent events until the prediction has ended.

    `status` is sent at each change of the status or of `queue_position`, `logs` as they grow, then
    `output` or `error`, then `done`.
    """
    chosen = kinds.split(",")
    if unknown := set(chosen) - set(KINDS):
        raise InvalidInput(
            f"events: there is no {', '.join(sorted(unknown))!r}; choose from {', '.join(KINDS)}"
        )
    following.followers.check_room()
    prediction = await anyio.to_thread.run_sync(ledger.get, prediction_id, caller.scope)
    return StreamingResponse(
        following.stream(prediction, base_url(request), chosen, last_event_id),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@router.get(
    "/{id}/image",
    response_class=Response,
    responses={
        200: {
            "content": {
                kind: {"schema": {"type": "string", "format": "binary"}}
                for kind in ("image/jpeg", "image/png", "image/webp")
            }
        },
        **problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE),
    },
)
async def image(
    prediction_id: PredictionId, ledger: LedgerDep, blobs: BlobsDep, caller: CallerDep
) -> Response:
    """The image with the detections drawn on it, where the submission set `visualize`."""
    prediction = await anyio.to_thread.run_sync(ledger.get, prediction_id, caller.scope)
    if not prediction.parameters.visualize:
        raise NotFound("there is no annotated image: submit with `visualize` to have one")
    if prediction.status is not Status.SUCCEEDED:
        raise Conflict(f"there is no annotated image: the prediction is {prediction.status}")
    data = await anyio.to_thread.run_sync(blobs.get, annotated_key(prediction_id))
    if data is None:
        raise Gone("the annotated image has expired; submit the image again")
    return Response(data, media_type=_media_type(data))


def _media_type(annotated: bytes) -> str:
    """Return the media type of an annotated image, by its first bytes."""
    if annotated.startswith(b"\x89PNG"):
        return "image/png"
    return "image/webp" if annotated.startswith(b"RIFF") else "image/jpeg"
