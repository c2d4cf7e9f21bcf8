"""A batch in its three forms: JSON with URLs and `data:` URIs, multipart with many files, or a ZIP.

Files and ZIPs are spooled to a temporary file. One image at a time is read from it.
"""

import logging
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import IO

import anyio.to_thread
from fastapi import Request
from starlette.exceptions import HTTPException

from api.requests.archive import read_archive
from api.requests.fields import query_fields, read_fields
from api.requests.headers import content_type
from api.requests.items import NAME_CHARS, BatchUpload, Item, read_image, too_many
from api.requests.multipart import FIELDS_BYTES, BatchForm
from api.requests.receive import read_body, receive
from api.requests.schemas import BatchRequest
from sluice.errors import InvalidInput, Unavailable
from sluice.settings import LimitsSettings

log = logging.getLogger(__name__)

#: Values take many times the memory of their JSON text, so commas are counted before parsing.
_COMMAS_PER_IMAGE = 100


@asynccontextmanager
async def read_batch(request: Request, limits: LimitsSettings) -> AsyncIterator[BatchUpload]:
    """Read the request's body. The images can be read inside this context.

    Raises InvalidInput or pydantic.ValidationError for an error in the body as a whole.
    Raises ImageTooLarge, UploadTooSlow, and HTTPException 415 for any other content type.
    Raises Unavailable where the temporary directory is full.
    """
    with ExitStack() as stack:
        try:
            upload = await _read(request, limits, stack.enter_context(tempfile.TemporaryFile()))
        except OSError as error:
            log.error("the temporary directory can't hold a batch: %s", error)
            raise Unavailable(
                "there is no room for the batch; send a smaller one, or try again later"
            ) from None
        if not upload.items:
            raise InvalidInput("there is no image in the batch")
        if len(upload.items) > limits.batch_items:
            raise too_many(limits)
        yield upload


async def _read(request: Request, limits: LimitsSettings, file: IO[bytes]) -> BatchUpload:
    kind = content_type(request)
    if kind == "application/json":
        body = await read_body(request, limits, limits.batch_max_bytes // 4, "batch as JSON")
        if body.count(b",") > _COMMAS_PER_IMAGE * limits.batch_items + FIELDS_BYTES:
            raise InvalidInput("the JSON has more values than a batch can have")
        return await anyio.to_thread.run_sync(_from_json, body)
    if kind == "multipart/form-data":
        form = BatchForm(request.headers["content-type"], file, limits)
        await _spool(request, limits, form.write)
        return form.upload()
    if kind == "application/zip":
        await _spool(request, limits, file.write)
        options, parameters = read_fields(query_fields(request))
        items = await anyio.to_thread.run_sync(read_archive, file, limits)
        return BatchUpload(items, options, parameters)
    raise HTTPException(
        415,
        f"content type {kind or '(none)'!r}: send application/json, multipart/form-data,"
        " or a ZIP as application/zip",
    )


async def _spool(
    request: Request, limits: LimitsSettings, write: Callable[[bytes], object]
) -> None:
    async for part in receive(request, limits, limits.batch_max_bytes, "batch"):
        await anyio.to_thread.run_sync(write, b"".join(part))


def _from_json(body: bytes) -> BatchUpload:
    batch = BatchRequest.model_validate_json(body, strict=True)
    items = [
        Item(
            None if text.startswith("data:") else text[:NAME_CHARS],
            partial(read_image, text),
        )
        for text in batch.images
    ]
    return BatchUpload(items, batch, batch.input)
