"""Batches: many images in one call, followed and canceled as one."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlencode

import anyio
import anyio.to_thread
from fastapi import APIRouter, Path, Query, Request, Response

from api.auth import CallerDep, SubmitterDep
from api.deps import Services, ServicesDep, base_url
from api.follow import wait_for
from api.openapi import RETRY_AFTER, link, problems
from api.requests.batch import BatchRequest, BatchUpload, Item, read_batch
from api.requests.single import Upload, too_large
from api.routes.submissions import (
    CancelAfter,
    IdempotencyKey,
    accept,
    build_submission,
    derived_id,
    resolve_file_url,
    seconds,
)
from api.schemas import BatchPage
from sluice.access.keys import Caller
from sluice.batch import Batch, BatchSubmission, ItemError
from sluice.blobs.store import Blobs, input_key
from sluice.errors import QueueFull, SluiceError, Unavailable
from sluice.ids import new_id
from sluice.prediction import Parameters, Submission
from sluice.resources import BatchAnswer, PredictionAnswer

log = logging.getLogger(__name__)

router = APIRouter(prefix="/v1/batches", tags=["batches"])

Id = Annotated[
    str,
    Path(alias="id", pattern="^[a-z2-7]{26}$", description="As the submission's answer gave it."),
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
    openapi_extra=_BODY,
    responses={
        202: {
            "description": "It is on record, and will end; `errors` has what was refused.",
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
    request: Request,
    services: ServicesDep,
    caller: SubmitterDep,
    cancel_after: CancelAfter = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Submit many images: as JSON with their URLs or `data:` URIs, as a multipart form with files and URLs in `image`, or as a ZIP.

    With a form the parameters are fields beside the files; with a ZIP they are in the query. Each image is taken in by itself: what
    is wrong with one is in `errors`, and the others run. Once the queue is full, the rest is in `errors`. Each prediction's
    `metadata` has the `batch`, the image's `index`, and its `name`.
    """
    start_within_s = None if cancel_after is None else seconds(cancel_after)
    batch_id = derived_id(caller, idempotency_key, "\0batch") if idempotency_key else new_id()
    try:
        if not idempotency_key:
            await anyio.to_thread.run_sync(
                services.ledger.check_capacity, 0, caller.name, caller.max_backlog
            )
        with _slot(services.batch_slots):
            async with read_batch(request, services.settings.limits) as upload:
                asked = await build_submission(
                    services,
                    caller,
                    upload.options,
                    upload.parameters,
                    base_url(request),
                    None,
                    start_within_s,
                )
                mark = (
                    await anyio.to_thread.run_sync(_digest, asked, upload.items)
                    if idempotency_key
                    else ""
                )
                batch = await _take_in(
                    services, caller, batch_id, upload, asked, mark, base_url(request)
                )
    except QueueFull as error:
        error.retry_after_s = await services.queue_load.retry_after_full_s()
        raise
    return await _answer(request, services, batch, HTTPStatus.ACCEPTED)


@router.get(
    "/{id}",
    response_model=BatchAnswer,
    responses={200: {"headers": RETRY_AFTER}, **problems(HTTPStatus.NOT_FOUND, HTTPStatus.GONE)},
)
async def get(
    batch_id: Id,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    wait_s: Annotated[
        float,
        Query(
            alias="wait",
            ge=0,
            description="Seconds to hold the answer at most, until the batch has ended.",
        ),
    ] = 0,
) -> Response:
    """A batch as it is now, or as it is when it ends."""
    held_s = min(wait_s, services.settings.api.max_wait_s)
    batch = await wait_for(services, services.batches.get, batch_id, caller.name, held_s)
    return await _answer(request, services, batch)


@router.get("/{id}/predictions", responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.GONE))
async def predictions(
    batch_id: Id,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    cursor: Annotated[
        int, Query(ge=0, le=1_000_000, description="The index of the first image of the page.")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=100, description="Images in a page.")] = 50,
) -> BatchPage:
    """A batch's predictions, in the order of the images. What was refused has none."""
    batch = await anyio.to_thread.run_sync(services.batches.get, batch_id, caller.name)
    found = await anyio.to_thread.run_sync(services.batches.predictions, batch, cursor, limit)

    def page(first: int) -> str:
        return f"{base_url(request)}/v1/batches/{batch_id}/predictions?{urlencode({'cursor': first, 'limit': limit})}"

    return BatchPage(
        previous=page(max(0, cursor - limit)) if cursor else None,
        next=page(cursor + limit) if cursor + limit < batch.total else None,
        results=[
            PredictionAnswer.from_prediction(prediction, base_url(request)) for prediction in found
        ],
    )


@router.post(
    "/{id}/cancel",
    response_model=BatchAnswer,
    responses=problems(*map(HTTPStatus, (404, 409, 410))),
)
async def cancel(
    batch_id: Id, request: Request, services: ServicesDep, caller: CallerDep
) -> Response:
    """Cancel what has not ended: what waits never starts, what runs stops before its next stage. What has ended stays as it is."""
    canceled = await anyio.to_thread.run_sync(services.batches.cancel, batch_id, caller.name)
    await anyio.to_thread.run_sync(_forget, services.blobs, canceled)
    return await _answer(
        request,
        services,
        await anyio.to_thread.run_sync(services.batches.get, batch_id, caller.name),
    )


async def _answer(
    request: Request, services: Services, batch: Batch, status: HTTPStatus = HTTPStatus.OK
) -> Response:
    answer = BatchAnswer.from_batch(batch, base_url(request))
    headers = {"Location": answer.urls.get} if status is HTTPStatus.ACCEPTED else {}
    if batch.completed_at is None:
        headers["Retry-After"] = str(await services.queue_load.retry_after_s())
    return Response(answer.model_dump_json(), status, headers, "application/json")


@contextmanager
def _slot(slots: anyio.CapacityLimiter) -> Iterator[None]:
    """Raises QueueFull."""
    try:
        slots.acquire_nowait()
    except anyio.WouldBlock:
        raise QueueFull(
            "as many batches are being taken in as are allowed; try again later"
        ) from None
    try:
        yield
    finally:
        slots.release()


async def _take_in(
    services: Services,
    caller: Caller,
    batch_id: str,
    upload: BatchUpload,
    asked: Submission,
    mark: str,
    base_url: str,
) -> Batch:
    """Every image that will do is on record then. Raises IdReused, Gone; an Unavailable where that kept every image out."""
    same = {"model", "key", "priority", "metadata", "webhook", "webhook_events", "base_url"}
    submission = BatchSubmission(total=len(upload.items), **asked.model_dump(include=same))
    batch = await anyio.to_thread.run_sync(services.batches.open, batch_id, submission, mark)
    if batch.completed_at is not None:
        return batch
    each = asked.model_copy(
        update={"batch": batch_id, "webhook": None, "webhook_events": (), "base_url": ""}
    )
    errors: list[ItemError] = []
    refusal: Unavailable | None = None
    for index, item in enumerate(upload.items):
        named = each.model_copy(
            update={"metadata": {"batch": batch_id, "index": index, "name": item.name}}
        )
        error = refusal or await _accept(
            services, caller, item, upload, named, batch.item(index), base_url
        )
        if isinstance(error, Unavailable):
            refusal = error  # it would be the same for the others
        if error:
            errors.append(
                ItemError(index=index, name=item.name, code=error.code, detail=error.message)
            )
    if refusal and len(errors) == batch.total:
        raise refusal  # the sweep removes the batch, as nothing is in it
    return await anyio.to_thread.run_sync(services.batches.seal, batch_id, errors)


async def _accept(
    services: Services,
    caller: Caller,
    item: Item,
    upload: BatchUpload,
    submission: Submission,
    prediction_id: str,
    base_url: str,
) -> SluiceError | None:
    """Why the image was not accepted, if it was not."""
    max_bytes = services.settings.limits.max_bytes
    try:
        if services.events.closing:
            raise Unavailable("this part of the service is stopping; send the image again")
        read = await anyio.to_thread.run_sync(item.read)
        image = (
            await resolve_file_url(
                services, caller, Upload(read, upload.options, upload.parameters), base_url
            )
        ).image
        if isinstance(image, bytes) and len(image) > max_bytes:
            raise too_large(max_bytes)
        await accept(services, caller, image, submission, prediction_id)
    except SluiceError as error:
        return error
    return None


def _digest(asked: Submission, items: Sequence[Item]) -> str:
    """SHA-256 of all that makes a batch, in hex. An image that can't be read counts by what is wrong with it."""
    found = hashlib.sha256(asked.model_dump_json(exclude={"base_url"}).encode())
    for item in items:
        try:
            read = item.read()
        except SluiceError as error:
            read = error.message
        found.update(hashlib.sha256(read if isinstance(read, bytes) else read.encode()).digest())
    return found.hexdigest()


def _forget(blobs: Blobs, canceled: Sequence[tuple[str, str]]) -> None:
    try:
        for prediction_id, digest in canceled:
            blobs.delete(input_key(prediction_id, digest))
    except Unavailable as error:
        log.warning("images that nobody needs stay until they expire: %s", error)
