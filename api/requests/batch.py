"""A batch's body in its three forms: JSON with URLs and `data:` URIs, multipart with many files, or a ZIP.

Files and ZIPs are spooled to a temporary file, from which one image at a time is read. No name in them is ever used as a path.
"""

import logging
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO

import anyio.to_thread
from fastapi import Request
from pydantic import ConfigDict, Field
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException

from api.requests.single import (
    EXAMPLE,
    Options,
    content_type,
    read_body,
    read_fields,
    read_image,
    receive,
    too_large,
)
from sluice.errors import ImageTooLarge, InvalidInput, Unavailable
from sluice.prediction import Parameters
from sluice.settings import LimitsSettings

log = logging.getLogger(__name__)

IMAGES = ("image", "images")  # the fields of a form that hold images
_FIELDS_BYTES = 65_536  # what a form's other fields may have together
_FIELDS = 1100  # a thousand of them may be classes
_DIRECTORY_BYTES = 1024  # for each image, that a ZIP's directory may have
_NAME_CHARS = 200
_HIDDEN = re.compile(r"(^|/)(\.(?!\.?(/|$))|__MACOSX(/|$))")
_COMMAS = (
    100  # for each image, that JSON may have: each value takes many times the memory of its text
)
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)


class BatchRequest(Options):
    """A batch as JSON."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "codes",
                    "input": {"confidence": 0.4},
                    "images": [EXAMPLE, EXAMPLE],
                }
            ]
        },
    )

    input: Parameters = Field(Parameters(), description="What is asked of every image.")
    images: list[str] = Field(
        min_length=1,
        description="Each a `data:` URI in base64, or an `http(s)` URL that a worker fetches.",
    )


@dataclass(frozen=True)
class Item:
    """One image. `name` is the file's, or its URL. `read` gives its bytes, or its URL; raises InvalidInput and its kin."""

    name: str | None
    read: Callable[[], bytes | str]


@dataclass(frozen=True)
class BatchUpload:
    items: Sequence[Item]
    options: Options
    parameters: Parameters


@asynccontextmanager
async def read_batch(request: Request, limits: LimitsSettings) -> AsyncIterator[BatchUpload]:
    """Read a request's body; its images can be read until this is left.

    Raises InvalidInput or pydantic.ValidationError for what is wrong with it as a whole, ImageTooLarge, UploadTooSlow,
    HTTPException 415 for a content type that is none of the three, and Unavailable where the temporary directory has no room.
    """
    with ExitStack() as stack:
        try:
            upload = await _read(request, limits, stack.enter_context(tempfile.TemporaryFile()))
        except OSError as error:
            log.error("a batch can't be spooled: %s", error)
            raise Unavailable(
                "there is no room for the batch; send a smaller one, or try again later"
            ) from None
        if not upload.items:
            raise InvalidInput("there is no image in the batch")
        if len(upload.items) > limits.batch_items:
            raise _too_many(limits)
        yield upload


async def _read(request: Request, limits: LimitsSettings, file: IO[bytes]) -> BatchUpload:
    kind = content_type(request)
    if kind == "application/json":
        body = await read_body(request, limits, limits.batch_max_bytes // 4, "batch as JSON")
        if body.count(b",") > _COMMAS * limits.batch_items + _FIELDS_BYTES:
            raise InvalidInput("the JSON has more values than a batch can have")
        return await anyio.to_thread.run_sync(_from_json, body)
    if kind == "multipart/form-data":
        form = _Form(request.headers["content-type"], file, limits)
        await _spool(request, limits, form.write)
        return form.upload()
    if kind == "application/zip":
        await _spool(request, limits, file.write)
        options, parameters = read_fields(
            {name: request.query_params.getlist(name) for name in request.query_params}
        )
        return BatchUpload(
            await anyio.to_thread.run_sync(_entries, file, limits), options, parameters
        )
    raise HTTPException(
        415,
        f"content type {kind or '(none)'!r}: send application/json, multipart/form-data, or a ZIP as application/zip",
    )


async def _spool(
    request: Request, limits: LimitsSettings, write: Callable[[bytes], object]
) -> None:
    async with aclosing(
        receive(request, limits, limits.batch_max_bytes, "batch", awaits=True)
    ) as chunks:
        async for chunk in chunks:
            await anyio.to_thread.run_sync(write, chunk)


def _too_many(limits: LimitsSettings) -> InvalidInput:
    return InvalidInput(
        f"there are more than {limits.batch_items:,} images; send them in several batches"
    )


def _from_json(body: bytes) -> BatchUpload:
    asked = BatchRequest.model_validate_json(body, strict=True)
    names = (None if text.startswith("data:") else text[:_NAME_CHARS] for text in asked.images)
    items = [
        Item(name, partial(read_image, text))
        for name, text in zip(names, asked.images, strict=True)
    ]
    return BatchUpload(items, asked, asked.input)


class _Form:
    """A multipart body (RFC 7578) as it comes: what images hold goes to `file`, one after the other, other fields are kept.

    Starlette's parser has a file of its own for each part, of which a process can't have a thousand open.
    """

    def __init__(self, header: str, file: IO[bytes], limits: LimitsSettings) -> None:
        """`header` is the body's content type. Raises InvalidInput."""
        self._file = file
        self._limits = limits
        self._items: list[Item] = []
        self._fields: list[tuple[str, bytearray]] = []
        self._kept_bytes = 0
        self._start = 0  # of the image, in the file
        self._ended = False
        self._error: InvalidInput | None = (
            None  # kept, so that the rest is still read and its sender gets to read the answer
        )
        boundary = parse_options_header(header)[1].get(b"boundary")
        if not boundary:
            raise InvalidInput("the multipart body can't be read: it has no boundary")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._data,
                    "on_part_end": self._end,
                    "on_end": self._all,
                },
            )
        except FormParserError as error:
            raise InvalidInput(f"the multipart body can't be read: {error}") from None

    def write(self, chunk: bytes) -> None:
        if self._error:
            return
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            self._error = InvalidInput(f"the multipart body can't be read: {error}")
        except InvalidInput as error:
            self._error = error

    def upload(self) -> BatchUpload:
        """What was in it. Raises InvalidInput, pydantic.ValidationError."""
        if self._error:
            raise self._error
        if not self._ended:
            raise InvalidInput("the multipart body can't be read: it ends before its last boundary")
        fields: dict[str, list[str]] = {}
        for name, value in self._fields:
            fields.setdefault(name, []).append(value.decode(errors="replace"))
        return BatchUpload(self._items, *read_fields(fields))

    def _begin(self) -> None:
        self._name, self._value, self._disposition, self._text = b"", b"", b"", b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name, self._value = b"", b""

    def _headers_finished(self) -> None:
        said = parse_options_header(self._disposition)[1]
        field = said.get(b"name", b"").decode(errors="replace")
        filename = said.get(b"filename")
        self._filename = (
            None if filename is None else filename.decode(errors="replace")[:_NAME_CHARS]
        )
        self._is_image = field in IMAGES
        self._start = self._file.tell()
        if self._is_image:
            if len(self._items) == self._limits.batch_items:
                raise _too_many(self._limits)
        elif filename is not None:
            raise InvalidInput(
                f"the file in the field {field[:_NAME_CHARS]!r}: send images in fields named 'image' or 'images'"
            )
        else:
            if len(self._fields) == _FIELDS:
                raise InvalidInput(
                    f"the multipart body has more than {_FIELDS} fields that are no images"
                )
            self._fields.append((field, bytearray()))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_image:
            if self._filename is None and len(self._text) < _NAME_CHARS:
                self._text += data[start:end][:_NAME_CHARS]
            self._file.write(data[start:end])
            return
        self._kept_bytes += end - start
        if self._kept_bytes > _FIELDS_BYTES:
            raise InvalidInput(
                f"the fields that are no images have more than {_FIELDS_BYTES:,} bytes"
            )
        self._fields[-1][1].extend(data[start:end])

    def _end(self) -> None:
        if self._is_image:
            size = self._file.tell() - self._start
            part = partial(
                _part,
                self._file,
                self._start,
                size,
                self._limits.max_bytes,
                as_text=self._filename is None,
            )
            url = (
                None
                if self._text.startswith(b"data:")
                else self._text.decode(errors="replace")[:_NAME_CHARS]
            )
            self._items.append(Item(self._filename if self._filename is not None else url, part))

    def _all(self) -> None:
        self._ended = True


def _part(file: IO[bytes], start: int, size: int, max_bytes: int, *, as_text: bool) -> bytes | str:
    if size > (max_bytes * 4 // 3 + _NAME_CHARS if as_text else max_bytes):
        raise too_large(max_bytes)
    file.seek(start)
    data = file.read(size)
    return read_image(data.decode(errors="replace")) if as_text else data


class _Bounded:
    """A ZIP's file, of which no single read may be larger than `max_bytes`."""

    def __init__(self, file: IO[bytes], max_bytes: int) -> None:
        self._file = file
        self.max_bytes = max_bytes
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > self.max_bytes:
            raise InvalidInput("the ZIP's directory is too large; send fewer entries")
        return self._file.read(size)


def _entries(file: IO[bytes], limits: LimitsSettings) -> list[Item]:
    """The images in a ZIP, in the order of its directory. Raises InvalidInput."""
    bounded = _Bounded(
        file, max(65_536, limits.batch_items * _DIRECTORY_BYTES)
    )  # the directory is read as a whole
    try:
        archive = zipfile.ZipFile(bounded)
    except _DAMAGED:
        raise InvalidInput("the body can't be read as a ZIP") from None
    bounded.max_bytes = max(65_536, limits.max_bytes)
    items, size = [], 0
    for info in archive.infolist():
        if info.is_dir() or _HIDDEN.search(info.filename):
            continue
        # A size that is a lie bounds what is read all the same.
        size += info.file_size if info.file_size <= limits.max_bytes else 0
        fits = size <= limits.batch_max_bytes
        items.append(
            Item(info.filename[:_NAME_CHARS], partial(_entry, archive, info, limits, fits=fits))
        )
    return items


def _entry(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, limits: LimitsSettings, *, fits: bool
) -> bytes:
    if info.flag_bits & 0x1:
        raise InvalidInput("the entry is encrypted; send it without a password")
    if info.compress_type not in (
        zipfile.ZIP_STORED,
        zipfile.ZIP_DEFLATED,
    ):  # the others' decoders can't be bounded
        raise InvalidInput(
            "the entry is compressed in a way that is not read here; use Deflate, or none"
        )
    if info.file_size > limits.max_bytes:
        raise too_large(limits.max_bytes)
    if not fits:
        raise ImageTooLarge(
            f"the ZIP's images have more than {limits.batch_max_bytes:,} bytes unpacked; send it in another batch"
        )
    try:
        with archive.open(info) as entry:
            return entry.read(
                info.file_size
            )  # without a size it would inflate all that there is, before it cuts
    except _DAMAGED:
        raise InvalidInput("the entry is damaged; pack it again") from None
