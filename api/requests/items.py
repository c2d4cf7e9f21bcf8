"""The images of a request: an image given as text, and the items of a batch."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from api.requests.schemas import Options
from sluice.errors import InvalidInput
from sluice.prediction import Parameters
from sluice.settings import LimitsSettings

NAME_CHARS = 200
_URL_CHARS = 8192


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
    """The bytes of a `data:` URI, or the URL itself. Raises InvalidInput."""
    scheme = text[:8].lower()  # RFC 3986: in letters of either case
    if scheme.startswith("data:"):
        return _decode_data_uri(text)
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


def too_many(limits: LimitsSettings) -> InvalidInput:
    return InvalidInput(
        f"there are more than {limits.batch_items:,} images; send them in several batches"
    )


def _decode_data_uri(text: str) -> bytes:
    """The bytes of a base64 `data:` URI (RFC 2397). Raises InvalidInput."""
    head, comma, data = text.partition(",")
    if not (head.lower().endswith(";base64") and comma):
        raise InvalidInput("input.image: give a data URI in base64, 'data:image/jpeg;base64,…'")
    try:
        return base64.b64decode(data, validate=True)
    except ValueError as error:
        raise InvalidInput(f"input.image: not valid base64: {error}") from None
