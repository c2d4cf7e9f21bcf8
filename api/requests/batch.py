"""A batch in its three forms: JSON with URLs and `data:` URIs, multipart with many files, or a ZIP.

Files and ZIPs are spooled to a temporary file. One image at a time is read from it.
"""

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from mmap import ACCESS_READ, mmap
from os import SEEK_END
from typing import IO

import anyio.to_thread
from fastapi import Request
from starlette.exceptions import HTTPException

from api.requests.archive import read_archive
from api.requests.fields import KNOWN_FIELDS, joined, query_fields, read_fields, with_query
from api.requests.headers import content_type
from api.requests.items import (
    NAME_CHARS,
    BatchUpload,
    Item,
    read_image,
    read_image_part,
    too_many,
)
from api.requests.json_body import is_json_type, read_json
from api.requests.multipart import FIELDS_BYTES, MAX_FIELDS, Part, parse_form, text_fields
from api.requests.receive import read_body, receive
from api.requests.schemas import BatchRequest
from api.requests.sniff import is_zip
from sluice import logs
from sluice.errors import InvalidInput, Unavailable
from sluice.settings import LimitsSettings

log = logs.get(__name__)

#: Values take many times the memory of their JSON text, so commas are counted before parsing.
_COMMAS_PER_IMAGE = 100
_IMAGE_FIELDS = ("image", "images")
_ZIP_TYPES = ("application/zip", "application/x-zip-compressed")

Fields = dict[str, list[str]]


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
            log.error(
                "batch_not_held", "the temporary directory can't hold a batch", error=error.strerror
            )
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
    query = query_fields(request)
    if is_json_type(kind):
        return await _read_json(request, limits, query)
    await _spool(request, limits, file.write)
    file.flush()
    return await anyio.to_thread.run_sync(_from_file, request, limits, file, query)


async def _read_json(request: Request, limits: LimitsSettings, query: Fields) -> BatchUpload:
    body = await read_body(request, limits, limits.batch_max_bytes // 4, "batch as JSON")
    if body.count(b",") > _COMMAS_PER_IMAGE * limits.batch_items + FIELDS_BYTES:
        raise InvalidInput("the JSON has more values than a batch can have")
    return await anyio.to_thread.run_sync(_from_json, body, query)


def _from_file(
    request: Request, limits: LimitsSettings, file: IO[bytes], query: Fields
) -> BatchUpload:
    """A form or a ZIP in `file`. The first bytes tell a ZIP where the type says nothing."""
    kind = content_type(request)
    if kind == "multipart/form-data":
        return _from_multipart(file, request.headers["content-type"], limits, query)
    file.seek(0)
    if kind in _ZIP_TYPES or is_zip(file.read(4)):
        options, parameters = read_fields(query)
        return BatchUpload(read_archive(file, limits), options, parameters)
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


def _from_multipart(
    file: IO[bytes], header: str, limits: LimitsSettings, query: Fields
) -> BatchUpload:
    is_empty = file.seek(0, SEEK_END) == 0  # an empty file can't be mapped
    body = b"" if is_empty else mmap(file.fileno(), 0, access=ACCESS_READ)
    parts = parse_form(body, header, max_parts=limits.batch_items + MAX_FIELDS)
    images = [part for part in parts if part.name in _IMAGE_FIELDS and not part.is_empty]
    others = [part for part in parts if part.name not in _IMAGE_FIELDS]
    for part in others:
        if part.filename is not None and part.name not in KNOWN_FIELDS:
            raise InvalidInput(
                f"the file in the field {part.name[:NAME_CHARS]!r}:"
                " send images in fields named 'image' or 'images'"
            )
    options, parameters = read_fields(joined(query, text_fields(others), "form"))
    return BatchUpload([_item(part, limits) for part in images], options, parameters)


def _item(part: Part, limits: LimitsSettings) -> Item:
    name = part.filename
    if name is None and not part.is_file:
        beginning = part.body[part.start : part.start + min(part.size, NAME_CHARS)]
        text = beginning.decode(errors="replace").strip()
        name = None if text.lower().startswith("data:") else text
    return Item(name and name[:NAME_CHARS], partial(read_image_part, part, limits.max_bytes))


def _from_json(body: bytes, query: Fields) -> BatchUpload:
    batch = read_json(BatchRequest, body)
    options, parameters = with_query(query, batch, batch.input)
    items = [
        Item(
            None if text.lstrip()[:5].lower() == "data:" else text[:NAME_CHARS],
            partial(read_image, text),
        )
        for text in batch.images
    ]
    return BatchUpload(items, options, parameters)
