"""Predictions: submit, follow, and look at what was found."""

import time
from http import HTTPStatus
from typing import Annotated, Any

import anyio.to_thread
from anyio import fail_after
from fastapi import APIRouter, Path, Query, Request, Response

from api.body import PredictionRequest, read_submission
from api.deps import Services, ServicesDep
from api.schemas import PredictionAnswer, ProblemAnswer
from sluice.blobs import annotated_key
from sluice.errors import Conflict, Gone, NotFound
from sluice.images import inspect
from sluice.prediction import Parameters, Prediction, Status

router = APIRouter(prefix="/v1/predictions", tags=["predictions"])

_LOOK_AGAIN_S = 2.0  # while waiting, in case the news of an end was lost with a connection
_RETRY_AFTER_S = 1

Id = Annotated[str, Path(alias="id", pattern="^[a-z0-9-]{1,64}$", description="As the submission's answer gave it.")]


def _problems(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    content = {"application/problem+json": {"schema": ProblemAnswer.model_json_schema()}}
    return {int(status): {"description": status.phrase, "content": content} for status in statuses}


_FORM = {
    "type": "object",
    "required": ["image"],
    "properties": {
        "image": {"type": "string", "format": "binary"},
        "model": {"type": "string"},
        **Parameters.model_json_schema()["properties"],
    },
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": PredictionRequest.model_json_schema(ref_template="#/components/schemas/{model}")},
            "multipart/form-data": {"schema": _FORM},
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"headers": {"Location": {"schema": {"type": "string"}}, "Retry-After": {"schema": {"type": "integer"}}}},
    **_problems(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
}


@router.post("", status_code=HTTPStatus.ACCEPTED, openapi_extra=_BODY, responses=_ACCEPTED)
async def submit(request: Request, response: Response, services: ServicesDep) -> PredictionAnswer:
    """Submit one image: as JSON, as a multipart form with the file in `image`, or as the body itself.

    With a form, the parameters are fields beside the file; with the image as the body, they are in the query.
    """
    return await _accept(request, response, services, None)


@router.put("/{id}", status_code=HTTPStatus.ACCEPTED, openapi_extra=_BODY, responses=_ACCEPTED | _problems(HTTPStatus.GONE))
async def put(prediction_id: Id, request: Request, response: Response, services: ServicesDep) -> PredictionAnswer:
    """Submit one image under an id of your own, so that you may submit it again when an answer was lost.

    The same submission under the same id changes nothing, and is answered with the prediction as it is now; another one is refused.
    """
    return await _accept(request, response, services, prediction_id)


async def _accept(request: Request, response: Response, services: Services, prediction_id: str | None) -> PredictionAnswer:
    limits = services.settings.limits
    submission = await read_submission(request, limits.max_bytes)
    await anyio.to_thread.run_sync(inspect, submission.image, limits.max_pixels)
    model = submission.model or services.settings.api.model
    await services.catalog.check(model, submission.parameters)
    accept = services.intake.accept
    prediction = await anyio.to_thread.run_sync(accept, submission.image, model, submission.parameters, prediction_id)
    answer = PredictionAnswer.of(prediction, _base_url(request))
    response.headers["Location"] = answer.urls.get
    response.headers["Retry-After"] = str(_RETRY_AFTER_S)
    return answer


@router.post(
    "/{id}/cancel",
    responses=_problems(
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
        HTTPStatus.GONE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
)
async def cancel(prediction_id: Id, request: Request, services: ServicesDep) -> PredictionAnswer:
    """Cancel a prediction that waits or runs. What runs is stopped before its next stage, and its result is never recorded."""
    prediction = await anyio.to_thread.run_sync(services.intake.cancel, prediction_id)
    return PredictionAnswer.of(prediction, _base_url(request))


@router.get(
    "/{id}",
    responses=_problems(HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def get(
    prediction_id: Id,
    request: Request,
    response: Response,
    services: ServicesDep,
    wait: Annotated[float, Query(ge=0, description="Seconds to hold the answer at most, until the prediction has ended.")] = 0,
) -> PredictionAnswer:
    """A prediction as it is now, or as it is when it ends."""
    prediction = await _wait(services, prediction_id, min(wait, services.settings.api.max_wait_s))
    if not prediction.status.terminal:
        response.headers["Retry-After"] = str(_RETRY_AFTER_S)
    return PredictionAnswer.of(prediction, _base_url(request))


@router.get(
    "/{id}/image",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        **_problems(
            HTTPStatus.NOT_FOUND,
            HTTPStatus.CONFLICT,
            HTTPStatus.GONE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
    },
)
async def image(prediction_id: Id, services: ServicesDep) -> Response:
    """The image with what was found drawn on it, where `visualize` asked for it."""
    prediction = await anyio.to_thread.run_sync(services.ledger.get, prediction_id)
    if not prediction.parameters.visualize:
        raise NotFound("there is no annotated image: submit with `visualize` to have one")
    if prediction.status is not Status.SUCCEEDED:
        raise Conflict(f"there is no annotated image: the prediction is {prediction.status}")
    data = await anyio.to_thread.run_sync(services.blobs.get, annotated_key(prediction_id))
    if data is None:
        raise Gone("the annotated image has expired; submit the image again")
    return Response(data, media_type="image/jpeg")


async def _wait(services: Services, prediction_id: str, wait_s: float) -> Prediction:
    """The record, once it is terminal or `wait_s` are over. Raises NotFound, RedisUnavailable."""
    until = time.monotonic() + wait_s
    with services.events.expect(prediction_id) as ended:
        while True:
            prediction = await anyio.to_thread.run_sync(services.ledger.get, prediction_id)
            left_s = until - time.monotonic()
            if prediction.status.terminal or left_s <= 0 or services.events.closing:
                return prediction
            try:
                with fail_after(min(left_s, _LOOK_AGAIN_S)):
                    await ended.wait()
            except TimeoutError:
                pass


def _base_url(request: Request) -> str:
    return str(request.base_url).rstrip("/")
