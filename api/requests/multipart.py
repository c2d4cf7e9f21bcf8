"""Multipart bodies (RFC 7578): a small form from memory, and a batch's form as it arrives."""

from collections.abc import AsyncGenerator
from functools import partial
from typing import IO

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import FormData, Headers
from starlette.formparsers import MultiPartException, MultiPartParser

from api.requests.fields import read_fields
from api.requests.items import NAME_CHARS, BatchUpload, Item, read_image, too_many
from api.requests.receive import too_large
from sluice.errors import InvalidInput
from sluice.settings import LimitsSettings

IMAGE_FIELDS = ("image", "images")
_FORM_FIELDS = 100
_BATCH_FIELDS = 1100  # a thousand of them may be classes
FIELDS_BYTES = 65_536  # for all fields of a batch that are no images


async def read_form(request: Request, body: bytes, *, max_files: int) -> FormData:
    """The form in `body`; close it after use. Raises InvalidInput."""

    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    boundary = _boundary(request.headers["content-type"])
    # No charset is passed on. RFC 7578 knows none, and the client would choose Python's codec.
    headers = Headers(raw=[(b"content-type", b'multipart/form-data; boundary="%s"' % boundary)])
    try:
        return await MultiPartParser(
            headers, once(), max_files=max_files, max_fields=_FORM_FIELDS
        ).parse()
    except MultiPartException as error:
        raise _unreadable(error.message) from None


class BatchForm:
    """A batch's form, parsed as it arrives.

    Images are written to `file`, one after the other; other fields are kept in memory. Starlette's
    parser opens a file for each image, and a process can't have a thousand files open.
    """

    def __init__(self, header: str, file: IO[bytes], limits: LimitsSettings) -> None:
        """`header` is the body's content type. Raises InvalidInput."""
        self._file = file
        self._limits = limits
        self._items: list[Item] = []
        self._fields: list[tuple[str, bytearray]] = []
        self._fields_bytes = 0
        self._start = 0  # of the current image, in the file
        self._complete = False
        #: Raised at the end only: the rest is read, so that the sender gets to read the answer.
        self._error: InvalidInput | None = None
        try:
            self._parser = MultipartParser(
                _boundary(header),
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:
            raise _unreadable(error) from None

    def write(self, part: bytes) -> None:
        """Parse the next part of the body."""
        if self._error:
            return
        try:
            self._parser.write(part)
        except FormParserError as error:
            self._error = _unreadable(error)
        except InvalidInput as error:
            self._error = error

    def upload(self) -> BatchUpload:
        """The batch, once the whole body is written.

        Raises InvalidInput, pydantic.ValidationError.
        """
        if self._error:
            raise self._error
        if not self._complete:
            raise _unreadable("it ends before its last boundary")
        fields: dict[str, list[str]] = {}
        for name, value in self._fields:
            fields.setdefault(name, []).append(value.decode(errors="replace"))
        return BatchUpload(self._items, *read_fields(fields))

    def _on_part_begin(self) -> None:
        self._name, self._value, self._disposition, self._text = b"", b"", b"", b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name, self._value = b"", b""

    def _on_headers_finished(self) -> None:
        disposition = parse_options_header(self._disposition)[1]
        field = disposition.get(b"name", b"").decode(errors="replace")
        filename = disposition.get(b"filename")
        self._filename = (
            None if filename is None else filename.decode(errors="replace")[:NAME_CHARS]
        )
        self._is_image = field in IMAGE_FIELDS
        self._start = self._file.tell()
        if self._is_image:
            if len(self._items) == self._limits.batch_items:
                raise too_many(self._limits)
        elif filename is not None:
            raise InvalidInput(
                f"the file in the field {field[:NAME_CHARS]!r}:"
                " send images in fields named 'image' or 'images'"
            )
        else:
            if len(self._fields) == _BATCH_FIELDS:
                raise InvalidInput(
                    f"the multipart body has more than {_BATCH_FIELDS} fields that are no images"
                )
            self._fields.append((field, bytearray()))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_image:
            if self._filename is None and len(self._text) < NAME_CHARS:
                self._text += data[start:end][:NAME_CHARS]
            self._file.write(data[start:end])
            return
        self._fields_bytes += end - start
        if self._fields_bytes > FIELDS_BYTES:
            raise InvalidInput(
                f"the fields that are no images have more than {FIELDS_BYTES:,} bytes"
            )
        self._fields[-1][1].extend(data[start:end])

    def _on_part_end(self) -> None:
        if not self._is_image:
            return
        name = self._filename
        if name is None and not self._text.startswith(b"data:"):
            name = self._text.decode(errors="replace")[:NAME_CHARS]
        read = partial(
            _read_part,
            self._file,
            self._start,
            self._file.tell() - self._start,
            self._limits.max_bytes,
            as_text=self._filename is None,
        )
        self._items.append(Item(name, read))

    def _on_end(self) -> None:
        self._complete = True


def _read_part(
    file: IO[bytes], start: int, size: int, max_bytes: int, *, as_text: bool
) -> bytes | str:
    if size > (max_bytes * 4 // 3 + NAME_CHARS if as_text else max_bytes):
        raise too_large(max_bytes)
    file.seek(start)
    data = file.read(size)
    return read_image(data.decode(errors="replace")) if as_text else data


def _boundary(content_type: str) -> bytes:
    """Raises InvalidInput."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise _unreadable("it has no boundary")
    return boundary


def _unreadable(reason: object) -> InvalidInput:
    return InvalidInput(f"the multipart body can't be read: {reason}")
