"""Batches: many images in one call, followed and canceled as one."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlencode

import anyio.to_thread
from fastapi import APIRouter, Depends, Path, Query, Request, Response

from api import tracing
from api.auth import CallerDep, SubmitterDep
from api.deps import (
    BatchesDep,
    BatchSubmittingDep,
    BlobsDep,
    FollowingDep,
    QueueLoadDep,
    ReadsDep,
    base_url,
)
from api.openapi import RETRY_AFTER, link, problems
from api.requests import headers
from api.requests.batch import read_batch
from api.requests.schemas import BatchRequest
from api.schemas import BatchPage
from api.traffic.load import QueueLoadCache
from sluice import logs
from sluice.batch import Batch
from sluice.blobs.store import Blobs, input_key
from sluice.errors import QueueFull, Unavailable
from sluice.ids import new_id
from sluice.prediction import Parameters
from sluice.resources import BatchAnswer, PredictionAnswer

log = logs.get(__name__)

router = APIRouter(prefix="/v1/batches", tags=["batches"])

BatchId = Annotated[
    str,
    Path(alias="id", pattern="^[a-z2-7]{26}$", description="The id from the submission's answer."),
]

_IMAGES = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "string", "format": "binary"},
    "description": "Files; or, as text, URLs.",
}
_FORM = {
    "type": "object",
    "additionalProperties": False,
    "anyOf": [{"required": ["image"]}, {"required": ["images"]}],
    "properties": {
        **{
            name: field
            for name, field in BatchRequest.model_json_schema()["properties"].items()
            if name != "input"
        },
        "image": _IMAGES,
        "images": {**_IMAGES, "description": "The same as `image`."},
        **Parameters.model_json_schema()["properties"],
    },
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/BatchRequest"}},
            "multipart/form-data": {"schema": _FORM},
            "application/zip": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_LINKS = {
    **{name: link(f"batches_{name}", id="/id") for name in ("get", "predictions", "cancel")},
    "deliveries": link("webhooks_batch_deliveries", id="/id"),
}
_LOCATION = {"Location": {"schema": {"type": "string"}, "description": "The batch."}}


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    response_model=BatchAnswer,
    dependencies=[Depends(headers.declare_for_batch)],
    openapi_extra=_BODY,
    responses={
        202: {
            "description": "The batch is on record, and will end. `errors` has the refused images.",
            "headers": {**_LOCATION, **RETRY_AFTER},
            "links": _LINKS,
        },
        **problems(
            HTTPStatus.REQUEST_TIMEOUT,
            HTTPStatus.GONE,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            HTTPStatus.TOO_MANY_REQUESTS,
        ),
    },
)
async def submit(
    request: Request, caller: SubmitterDep, batch_submitting: BatchSubmittingDep
) -> Response:
    """Submit many images: as JSON, as a multipart form, or as a ZIP.

    JSON holds URLs or `data:` URIs; a form holds files and URLs in `image`. With a form the
    parameters are fields beside the files. With a ZIP they are in the query.

    Each image is accepted or refused by itself: `errors` has the refused ones, and the others run.
    Once the queue is full, the remaining images are refused. The `metadata` of each prediction has
    the `batch`, the image's `index`, and the image's `name`.
    """
    url = base_url(request)
    submitting = batch_submitting.submitting
    start_within_s = headers.start_within_s(request.headers)
    idempotent_id = headers.idempotent_id(request.headers, caller, submitting.id_prefix, "\0batch")
    try:
        if idempotent_id is None:
            await submitting.check_capacity(caller, 0)
        with batch_submitting.slot():
            async with read_batch(request, submitting.limits) as upload:
                batch = await batch_submitting.submit(
                    idempotent_id or new_id(submitting.id_prefix),
                    upload,
                    caller,
                    url,
                    start_within_s=start_within_s,
                    idempotent=idempotent_id is not None,
                )
                tracing.annotate(batch_id=batch.id, model=batch.model, key=caller.name)
    except QueueFull as error:
        error.retry_after_s = await submitting.queue_load.retry_after_full_s()
        raise
    return await _answer(url, batch, submitting.queue_load, HTTPStatus.ACCEPTED)


@router.get(
    "/{id}",
    response_model=BatchAnswer,
    responses={200: {"headers": RETRY_AFTER}, **problems(HTTPStatus.NOT_FOUND, HTTPStatus.GONE)},
)
async def get(
    batch_id: BatchId,
    request: Request,
    batches: BatchesDep,
    following: FollowingDep,
    queue_load: QueueLoadDep,
    reads: ReadsDep,
    caller: CallerDep,
    wait_s: Annotated[
        float,
        Query(
            alias="wait",
            ge=0,
            description="Holds the answer until the batch has ended, at most so many seconds.",
        ),
    ] = 0,
) -> Response:
    """A batch, now or at its end."""
    batch = await following.wait_for(
        lambda: reads.run(batches.get, batch_id, caller.scope), batch_id, wait_s
    )
    return await _answer(base_url(request), batch, queue_load)


@router.get("/{id}/predictions", responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.GONE))
async def predictions(
    batch_id: BatchId,
    request: Request,
    batches: BatchesDep,
    caller: CallerDep,
    cursor: Annotated[
        int, Query(ge=0, le=1_000_000, description="The index of the first image of the page.")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=100, description="Images in a page.")] = 50,
) -> BatchPage:
    """A batch's predictions, in the order of the images. A refused image has none."""
    batch = await anyio.to_thread.run_sync(batches.get, batch_id, caller.scope)
    page = await anyio.to_thread.run_sync(batches.predictions, batch, cursor, limit)
    url = base_url(request)

    def page_url(first: int) -> str:
        query = urlencode({"cursor": first, "limit": limit})
        return f"{url}/v1/batches/{batch_id}/predictions?{query}"

    return BatchPage(
        previous=page_url(max(0, cursor - limit)) if cursor else None,
        next=page_url(cursor + limit) if cursor + limit < batch.total else None,
        results=[PredictionAnswer.from_prediction(prediction, url) for prediction in page],
    )


@router.post(
    "/{id}/cancel",
    response_model=BatchAnswer,
    responses=problems(*map(HTTPStatus, (404, 409, 410))),
)
async def cancel(
    batch_id: BatchId,
    request: Request,
    batches: BatchesDep,
    blobs: BlobsDep,
    queue_load: QueueLoadDep,
    caller: CallerDep,
) -> Response:
    """Cancel the predictions of a batch that have not ended.

    A queued prediction never starts. A running one stops before its next stage. Predictions that
    have ended stay unchanged.
    """
    canceled = await anyio.to_thread.run_sync(batches.cancel, batch_id, caller.scope)
    await anyio.to_thread.run_sync(_delete_images, blobs, canceled)
    batch = await anyio.to_thread.run_sync(batches.get, batch_id, caller.scope)
    return await _answer(base_url(request), batch, queue_load)


async def _answer(
    base_url: str,
    batch: Batch,
    queue_load: QueueLoadCache,
    status: HTTPStatus = HTTPStatus.OK,
) -> Response:
    answer = BatchAnswer.from_batch(batch, base_url)
    answer_headers = {"Location": answer.urls.get} if status is HTTPStatus.ACCEPTED else {}
    if batch.completed_at is None:
        answer_headers["Retry-After"] = str(await queue_load.retry_after_s())
    return Response(answer.model_dump_json(), status, answer_headers, "application/json")


def _delete_images(blobs: Blobs, canceled: Sequence[tuple[str, str]]) -> None:
    try:
        for prediction_id, digest in canceled:
            blobs.delete(input_key(prediction_id, digest))
    except Unavailable as error:
        log.warning(
            "images_not_deleted",
            "images of canceled predictions stay until they expire",
            error=error,
        )
