"""Predictions that have been submitted: follow them, list them, cancel them, and look at what was found."""

import hashlib
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlencode

import anyio.to_thread
from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BeforeValidator

from api.auth import CallerDep, FollowerDep
from api.deps import ServicesDep, base_url
from api.follow import KINDS, events, wait
from api.openapi import ETAG, RETRY_AFTER, problems
from api.routes.submissions import ID
from api.schemas import PredictionPage
from api.traffic.load import clamp
from sluice.blobs.store import annotated_key
from sluice.errors import Conflict, Gone, InvalidInput, NotFound
from sluice.ledger.history import Filter
from sluice.prediction import Status
from sluice.resources import PredictionAnswer

router = APIRouter(prefix="/v1/predictions", tags=["predictions"])

_EVENT = {  # one of them
    "type": "object",
    "required": ["event", "id", "data"],
    "properties": {
        "event": {"type": "string", "enum": list(KINDS)},
        "id": {"type": "string"},
        "data": {"type": "string", "description": "JSON, but for `logs`."},
    },
}
Id = Annotated[str, Path(alias="id", pattern=ID, description="As the submission's answer gave it.")]


def _with_a_time(value: object) -> object:
    """Not what pydantic would take too: a day, or a number, which may be seconds or milliseconds."""
    if isinstance(value, str) and "T" not in value.upper():
        raise ValueError("give a time such as 2026-01-31T12:00:00Z")
    return value


@router.get("", responses=problems())
async def list_(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    cursor: Annotated[
        str | None, Query(description="From `next` or `previous` of another page.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    status: Annotated[Status | None, Query(description="Only those with this status.")] = None,
    model: Annotated[str | None, Query(description="Only those of this model.")] = None,
    since: Annotated[
        datetime | None,
        BeforeValidator(_with_a_time),
        Query(
            description="Only those submitted then or later: RFC 3339, in UTC where it names no zone."
        ),
    ] = None,
) -> PredictionPage:
    """Your predictions, the newest first, as long as they are kept; those of batches are in their batches."""
    wanted = Filter(
        status, model, since.replace(tzinfo=since.tzinfo or UTC).timestamp() if since else None
    )
    page = await anyio.to_thread.run_sync(services.history.page, caller.name, cursor, limit, wanted)

    def link(other: str | None) -> str | None:
        kept = [
            (name, value) for name, value in request.query_params.multi_items() if name != "cursor"
        ]
        return (
            f"{base_url(request)}/v1/predictions?{urlencode([*kept, ('cursor', other)])}"
            if other
            else None
        )

    results = [
        PredictionAnswer.from_prediction(prediction, base_url(request))
        for prediction in page.results
    ]
    return PredictionPage(previous=link(page.previous), next=link(page.next), results=results)


@router.get(
    "/{id}",
    response_model=PredictionAnswer,
    responses={
        200: {"headers": {**ETAG, **RETRY_AFTER}},
        304: {"description": "It is as `If-None-Match` says.", "headers": ETAG},
        **problems(HTTPStatus.NOT_FOUND, HTTPStatus.GONE),
    },
)
async def get(
    prediction_id: Id,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    wait_s: Annotated[
        float,
        Query(
            alias="wait",
            ge=0,
            description="Seconds to hold the answer at most, until the prediction has ended.",
        ),
    ] = 0,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """A prediction as it is now, or as it is when it ends."""
    prediction = await wait(
        services, prediction_id, caller.name, min(wait_s, services.settings.api.max_wait_s)
    )
    queued = await services.queue_load.position(prediction)
    body = (
        PredictionAnswer.from_prediction(prediction, base_url(request), queued)
        .model_dump_json()
        .encode()
    )
    headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"'}
    if not prediction.status.terminal:
        headers["Retry-After"] = str(clamp(queued.estimated_wait_s))
    known = {tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")}
    if headers["ETag"] in known or "*" in known:
        return Response(None, HTTPStatus.NOT_MODIFIED, headers)
    return Response(body, headers=headers, media_type="application/json")


@router.post(
    "/{id}/cancel",
    response_model=PredictionAnswer,
    responses=problems(*map(HTTPStatus, (404, 409, 410))),
)
async def cancel(
    prediction_id: Id, request: Request, services: ServicesDep, caller: CallerDep
) -> Response:
    """Cancel a prediction that waits or runs; `canceled_from` says which. One that waits never starts. One that runs stops before
    its next stage, and its result is never recorded.
    """
    prediction = await anyio.to_thread.run_sync(services.intake.cancel, prediction_id, caller.name)
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
    prediction_id: Id,
    request: Request,
    services: ServicesDep,
    caller: FollowerDep,
    kinds: Annotated[
        str,
        Query(
            alias="events",
            description=f"Which, with commas between them: {', '.join(KINDS)}.",
            examples=["status,done"],
            json_schema_extra={"pattern": "^({0})(,({0}))*$".format("|".join(KINDS))},
        ),
    ] = ",".join(KINDS),
    last_event_id: Annotated[
        str, Header(description="The last event that arrived: the logs go on from there.")
    ] = "",
) -> StreamingResponse:
    """Server-sent events until the prediction has ended.

    `status` at each change of the status or of `queue_position`, `logs` as they grow, then `output` or `error`, then `done`.
    """
    chosen = kinds.split(",")
    if unknown := set(chosen) - set(KINDS):
        raise InvalidInput(
            f"events: there is no {', '.join(sorted(unknown))!r}; choose from {', '.join(KINDS)}"
        )
    prediction = await anyio.to_thread.run_sync(services.ledger.get, prediction_id, caller.name)
    lines = events(services, prediction, base_url(request), chosen, last_event_id)
    return StreamingResponse(
        lines,
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@router.get(
    "/{id}/image",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        **problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE),
    },
)
async def image(prediction_id: Id, services: ServicesDep, caller: CallerDep) -> Response:
    """The image with what was found drawn on it, where `visualize` asked for it."""
    prediction = await anyio.to_thread.run_sync(services.ledger.get, prediction_id, caller.name)
    if not prediction.parameters.visualize:
        raise NotFound("there is no annotated image: submit with `visualize` to have one")
    if prediction.status is not Status.SUCCEEDED:
        raise Conflict(f"there is no annotated image: the prediction is {prediction.status}")
    data = await anyio.to_thread.run_sync(services.blobs.get, annotated_key(prediction_id))
    if data is None:
        raise Gone("the annotated image has expired; submit the image again")
    return Response(data, media_type="image/jpeg")
