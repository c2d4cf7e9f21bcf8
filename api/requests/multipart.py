"""Multipart forms (RFC 7578), parsed where they lie: in memory, or in a mapped file.

Every form of the api is read here: of one image, of a batch, and of an uploaded file.
"""

import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from mmap import mmap
from urllib.parse import unquote

from api.requests.data_uri import decode_base64
from sluice.errors import InvalidInput

Body = bytes | mmap

MAX_FIELDS = 1100  # a thousand of them may be classes
FIELDS_BYTES = 65_536  # for all fields of a form that are no images
_HEAD_BYTES = 4096  # for the headers of one part
_BOUNDARY_BYTES = 256
_MISSES = 1000  # lines that begin like a boundary and are none
_WINDOW_BYTES = 4_000_000  # one search holds the interpreter's lock
_AFTER_BOUNDARY = re.compile(rb"--|[ \t]{0,100}\r?\n")
_EMPTY_LINE = re.compile(rb"(?:\A|\n)\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_PARAMETER = re.compile(rb';\s*([^\s=;]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))', re.DOTALL)
_ESCAPED = re.compile(rb'\\(["\\])')


@dataclass(frozen=True)
class Part:
    """One field or file of a form."""

    name: str
    filename: str | None
    """None where the sender gave none; empty for a file input of a browser that was left empty."""
    content_type: str
    """The media type without its parameters, or an empty text."""
    body: Body
    """The whole form."""
    start: int
    end: int
    """The place of the content in `body`, in bytes."""
    transfer_encoding: str
    """Such as `base64`, which some mail libraries apply; RFC 7578 has none."""

    @property
    def size(self) -> int:
        """Bytes of the content, as it came."""
        return self.end - self.start

    @property
    def is_empty(self) -> bool:
        """True for an input that was left empty: a browser sends it without content and name."""
        return self.size == 0 and not self.filename

    @property
    def is_file(self) -> bool:
        """True where the sender says so: by a file name, or by a type that is no text's.

        The name is optional by RFC 7578, section 4.2.
        """
        if self.filename is not None:
            return True
        return bool(self.content_type) and not self.content_type.startswith("text/")

    def read(self) -> bytes:
        """The content. Raises InvalidInput for base64 that can't be decoded."""
        data = self.body[self.start : self.end]
        if self.transfer_encoding == "base64":
            try:
                return decode_base64(data)
            except ValueError as error:
                raise InvalidInput(f"{self.name}: not valid base64: {error}") from None
        if self.transfer_encoding == "quoted-printable":
            return binascii.a2b_qp(data)
        return data

    def text(self) -> str:
        """The content as text. A charset is not looked at: RFC 7578 asks for UTF-8."""
        return self.read().decode("utf-8-sig", errors="replace")


def parse_form(body: Body, content_type: str, *, max_parts: int) -> list[Part]:
    """The parts of a form, in their order, without file inputs that a browser's user left empty.

    `content_type` is the header of that name. Text before the first boundary and after the last
    one is ignored (RFC 2046, section 5.1.1). Lines may end without a carriage return.
    Raises InvalidInput.
    """
    parts: list[Part] = []
    start: int | None = None  # of the current part, after its boundary
    for before, after, last in _boundaries(body, b"--" + _boundary(content_type)):
        if start is not None:
            if len(parts) == max_parts:
                raise InvalidInput(f"the multipart body has more than {max_parts:,} parts")
            parts.append(_part(body, start, before))
        if last:
            return [part for part in parts if part.filename is None or not part.is_empty]
        start = after
    raise _unreadable(
        "its boundary never comes" if start is None else "it ends before its last boundary"
    )


def text_fields(parts: Iterable[Part]) -> dict[str, list[str]]:
    """The values of all fields in `parts`, by name. A value may have come as a file.

    Raises InvalidInput.
    """
    fields: dict[str, list[str]] = {}
    count, size = 0, 0
    for part in parts:
        count, size = count + 1, size + part.size
        if count > MAX_FIELDS or size > FIELDS_BYTES:
            raise InvalidInput(
                f"the fields that are no images are more than {MAX_FIELDS:,}, or have more than"
                f" {FIELDS_BYTES:,} bytes; the last one read is {part.name[:100]!r}"
            )
        fields.setdefault(part.name, []).append(part.text())
    return fields


def _boundaries(body: Body, marker: bytes) -> Iterator[tuple[int, int, bool]]:
    """For each boundary: the end of the line before it, the end of its own, and if it is the last.

    Raises InvalidInput where the marker occurs too often elsewhere.
    """
    at, misses = 0, 0
    while (found := _find(body, marker, at)) >= 0:
        at = found + len(marker)
        after = _AFTER_BOUNDARY.match(body, at)
        if after and (found == 0 or body[found - 1 : found] == b"\n"):
            before = found - 1 - (body[found - 2 : found - 1] == b"\r") if found else 0
            yield before, after.end(), after[0] == b"--"
        else:
            misses += 1
            if misses > _MISSES:
                raise _unreadable("its boundary occurs in its content; choose another")


def _find(body: Body, marker: bytes, at: int) -> int:
    while at < len(body):
        found = body.find(marker, at, at + _WINDOW_BYTES + len(marker))
        if found >= 0:
            return found
        at += _WINDOW_BYTES
    return -1


def _part(body: Body, start: int, end: int) -> Part:
    window = body[start : start + _HEAD_BYTES]
    empty_line = _EMPTY_LINE.search(window)
    if not empty_line:
        raise _unreadable("a part's headers do not end")
    headers = {}
    for line in _FOLD.sub(b" ", window[: empty_line.start()]).splitlines():
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip()
    disposition = _parameters(headers.get(b"content-disposition", b""))
    if b"name" not in disposition:
        raise _unreadable("a part has no name; each needs a Content-Disposition with one")
    filename = _extended(disposition.get(b"filename*")) or _decoded(disposition.get(b"filename"))
    content = start + empty_line.end()
    return Part(
        name=disposition[b"name"].decode(errors="replace"),
        filename=filename,
        content_type=_media_type(headers.get(b"content-type", b"")),
        body=body,
        start=content,
        end=max(content, end),
        transfer_encoding=_media_type(headers.get(b"content-transfer-encoding", b"")),
    )


def _parameters(header: bytes) -> dict[bytes, bytes]:
    """The parameters behind a header's value, by name in lower case."""
    return {
        name.lower(): _ESCAPED.sub(rb"\1", quoted) if quoted else bare.strip()
        for name, quoted, bare in _PARAMETER.findall(header)
    }


def _extended(value: bytes | None) -> str | None:
    """A parameter with a charset (RFC 8187): `UTF-8''%E5%9B%BE.jpg`."""
    if value is None:
        return None
    charset, _, text = value.decode("ascii", errors="replace").partition("'")
    encoding = "latin-1" if charset.lower() == "iso-8859-1" else "utf-8"
    return unquote(text.partition("'")[2], encoding=encoding, errors="replace")


def _decoded(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")


def _media_type(value: bytes) -> str:
    return value.partition(b";")[0].strip().lower().decode(errors="replace")


def _boundary(content_type: str) -> bytes:
    """Raises InvalidInput."""
    boundary = _parameters(content_type.encode("latin-1", errors="replace")).get(b"boundary", b"")
    if not 0 < len(boundary) <= _BOUNDARY_BYTES:
        raise _unreadable(
            "its Content-Type has no boundary; let the client's library set that header"
        )
    return boundary


def _unreadable(reason: str) -> InvalidInput:
    return InvalidInput(f"the multipart body can't be read: {reason}")
