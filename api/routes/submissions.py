"""Submitting one image."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response

from api import tracing
from api.auth import SubmitterDep
from api.deps import FollowingDep, SubmittingDep, base_url
from api.follow import Following
from api.openapi import LOCATION, PREDICTION_LINKS, RETRY_AFTER, Responses, problems
from api.requests import headers
from api.requests.schemas import PREDICTION_ID, PredictionRequest
from api.requests.single import read_upload
from api.submitting import Submitting
from sluice.access.keys import Caller
from sluice.errors import QueueFull
from sluice.prediction import Parameters
from sluice.resources import PredictionAnswer

router = APIRouter(prefix="/v1", tags=["predictions"])

NewId = Annotated[
    str,
    Path(alias="id", pattern=PREDICTION_ID, description="An id of your choice: a-z, 0-9 and -."),
]

_FORM = {
    "type": "object",
    "additionalProperties": False,
    "required": ["image"],
    "properties": {
        "image": {
            "type": "string",
            "format": "binary",
            "description": "The file; or, as text, a URL.",
        },
        **{
            name: field
            for name, field in PredictionRequest.model_json_schema()["properties"].items()
            if name != "input"
        },
        **Parameters.model_json_schema()["properties"],
    },
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/PredictionRequest"}},
            "multipart/form-data": {"schema": _FORM},
            **{
                f"image/{kind}": {"schema": {"type": "string", "format": "binary"}}
                for kind in ("jpeg", "png", "webp", "bmp", "tiff", "gif", "avif")
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_ACCEPTED: Responses = {
    201: {
        "model": PredictionAnswer,
        "description": "The prediction has ended within the time that `Prefer` gave.",
        "headers": LOCATION,
        "links": PREDICTION_LINKS,
    },
    202: {
        "description": "The prediction is on record, and will end.",
        "headers": {**LOCATION, **RETRY_AFTER},
        "links": PREDICTION_LINKS,
    },
    **problems(
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.GONE,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.TOO_MANY_REQUESTS,
    ),
}
_OPTIONS: Any = {
    "status_code": HTTPStatus.ACCEPTED,
    "response_model": PredictionAnswer,
    "openapi_extra": _BODY,
    "responses": _ACCEPTED,
}


@router.post("/predictions", dependencies=[Depends(headers.declare_with_key)], **_OPTIONS)
async def submit(
    request: Request, caller: SubmitterDep, submitting: SubmittingDep, following: FollowingDep
) -> Response:
    """Submit one image: as JSON, as a multipart form with the file in `image`, or as the body.

    With a form, the parameters are fields beside the file. With the image as the body, they are in
    the query.
    """
    prediction_id = headers.idempotent_id(request.headers, caller, submitting.id_prefix)
    return await _respond(request, caller, submitting, following, prediction_id)


@router.put("/predictions/{id}", dependencies=[Depends(headers.declare)], **_OPTIONS)
async def put(
    prediction_id: NewId,
    request: Request,
    caller: SubmitterDep,
    submitting: SubmittingDep,
    following: FollowingDep,
) -> Response:
    """Submit one image under an id of your own.

    Repeat the call after a lost answer. The same submission under the same id changes nothing: the
    answer is the prediction as it is now. A different submission under that id is refused.
    """
    return await _respond(request, caller, submitting, following, prediction_id)


@router.post(
    "/models/{owner}/{name}/predictions",
    dependencies=[Depends(headers.declare_with_key)],
    **_OPTIONS,
)
async def submit_to_model(
    owner: Annotated[str, Path(examples=["sluice"])],
    name: Annotated[str, Path(examples=["codes"])],
    request: Request,
    caller: SubmitterDep,
    submitting: SubmittingDep,
    following: FollowingDep,
) -> Response:
    """Submit one image to a model by its path, for Replicate's clients.

    Any owner will do, since models have names only.
    """
    prediction_id = headers.idempotent_id(request.headers, caller, submitting.id_prefix)
    return await _respond(request, caller, submitting, following, prediction_id, model=name)


async def _respond(
    request: Request,
    caller: Caller,
    submitting: Submitting,
    following: Following,
    prediction_id: str | None,
    model: str | None = None,
) -> Response:
    """Read the request, submit, and wait as long as `Prefer` asks."""
    url = base_url(request)
    wait_s = headers.wait_s(request, following.max_wait_s)
    start_within_s = headers.start_within_s(request.headers)
    load = submitting.queue_load
    try:
        # A known id is answered even when the queue is full.
        if prediction_id is None and (caller.max_backlog or await load.is_nearly_full()):
            await submitting.check_capacity(caller, headers.declared_bytes(request) or 0)
        with submitting.arrivals.counted():
            with tracing.span("receive"):
                upload = await read_upload(request, submitting.limits)
            with tracing.span("accept"):
                prediction = await submitting.submit(
                    upload,
                    caller,
                    url,
                    prediction_id=prediction_id,
                    model=model,
                    start_within_s=start_within_s,
                )
    except QueueFull as error:
        error.retry_after_s = await load.retry_after_full_s()
        raise
    tracing.annotate(prediction_id=prediction.id, model=prediction.model, key=caller.name)
    if wait_s:
        prediction = await following.wait(prediction.id, caller.name, wait_s, prediction)
    answer = PredictionAnswer.from_prediction(prediction, url)
    answer_headers = {"Location": answer.urls.get}
    if wait_s:
        answer_headers["Preference-Applied"] = f"wait={wait_s:g}"
    ended = bool(wait_s) and prediction.status.terminal
    if not ended:
        answer_headers["Retry-After"] = str(await load.retry_after_s())
    status = HTTPStatus.CREATED if ended else HTTPStatus.ACCEPTED
    return Response(answer.model_dump_json(), status, answer_headers, "application/json")
