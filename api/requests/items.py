"""The images of a request: an image given as text, and the items of a batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from api.requests.data_uri import decode_data_uri
from api.requests.multipart import Part
from api.requests.receive import too_large
from api.requests.schemas import Options
from api.requests.sniff import is_image, is_text_image
from sluice.errors import InvalidInput
from sluice.prediction import Parameters
from sluice.settings import LimitsSettings

NAME_CHARS = 200
_URL_CHARS = 8192
_HEAD_BYTES = 1024  # of a data URI, before its data
_AROUND_CHARS = 1000  # looked at for it, at each end
_AROUND = "\ufeff" + "".join(map(chr, range(33)))  # a byte order mark, controls, the space


@dataclass(frozen=True)
class Item:
    """One image of a batch."""

    name: str | None
    """The file's name, or the URL."""
    read: Callable[[], bytes | str]
    """Returns the image's bytes, or its URL. Raises InvalidInput or a subclass."""


@dataclass(frozen=True)
class BatchUpload:
    """The body of a request with many images."""

    items: Sequence[Item]
    options: Options
    parameters: Parameters


def read_image(text: str) -> bytes | str:
    """The bytes of a `data:` URI, or the URL itself. Raises InvalidInput.

    Control characters and spaces around it are stripped, as browsers do (WHATWG URL).
    """
    text = _stripped(text)
    scheme = text[:8].lower()  # RFC 3986: in letters of either case
    if scheme.startswith("data:"):
        return decode_data_uri(text)
    if scheme.startswith(("http://", "https://")):
        # The record keeps the URL, and the bounds on images' bytes do not count it.
        if len(text) > _URL_CHARS:
            raise InvalidInput(
                f"input.image: the URL is longer than {_URL_CHARS:,} characters;"
                " send the image itself"
            )
        return text
    raise InvalidInput(
        "input.image: give a data URI in base64, 'data:image/jpeg;base64,…', or an http(s) URL"
    )


def _stripped(text: str) -> str:
    """The text without what is around it, within bounds: stripping megabytes would take seconds."""
    beginning, end = text[:_AROUND_CHARS], text[-_AROUND_CHARS:]
    first = len(beginning) - len(beginning.lstrip(_AROUND))
    return text[first : len(text) - (len(end) - len(end.rstrip(_AROUND)))]


def read_image_part(part: Part, max_bytes: int) -> bytes | str:
    """The image in a part of a form: a file, or the text of a `data:` URI or URL.

    A part without a file name is text only where its bytes say so, or where they are no image's.
    Raises InvalidInput, ImageTooLarge.
    """
    if part.size > max_text_bytes(max_bytes):
        raise too_large(max_bytes)
    data = part.read()
    if part.filename is not None:
        return data
    if is_text_image(data) or not (part.is_file or is_image(data)):
        return read_image(data.decode("utf-8-sig", errors="replace"))
    return data


def max_text_bytes(max_bytes: int) -> int:
    """The bytes of an image of `max_bytes` as a `data:` URI: 4/3 in base64, and line breaks."""
    return max_bytes * 3 // 2 + _HEAD_BYTES


def too_many(limits: LimitsSettings) -> InvalidInput:
    return InvalidInput(
        f"there are more than {limits.batch_items:,} images; send them in several batches"
    )
