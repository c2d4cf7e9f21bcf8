"""`data:` URIs (RFC 2397), as browsers read them: WHATWG's URL, Fetch and Infra standards."""

import base64
from urllib.parse import unquote_to_bytes

from api.requests.sniff import is_image
from sluice.errors import InvalidInput

_EXAMPLE = "'data:image/jpeg;base64,…'"
_WHITE_SPACE = b"\t\n\f\r "
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_PIECE_CHARS = 1_000_000  # a text of escapes takes many times its size while it is decoded
#: An image of 20 MB has half as many where its lines, pluses and slashes are escaped.
_MAX_ESCAPES = 2_000_000


def decode_data_uri(uri: str) -> bytes:
    """The bytes of a `data:` URI. The white space around it must be gone.

    Base64 may have white space, percent-encoded characters, the alphabet for URLs, and no padding.
    A URI without base64 must hold an image in percent-encoded bytes. Raises InvalidInput.
    """
    head, comma, data = uri.partition(",")
    kind = head.translate({ord(character): None for character in "\t\n\r"}).lower().rstrip(" ")
    in_base64 = kind.endswith("base64") and kind[:-6].rstrip(" ").endswith(";")
    if not comma:
        raise InvalidInput(f"input.image: give a data URI in base64, {_EXAMPLE}")
    if not in_base64:
        image = _percent_decoded(data.partition("#")[0])
        if not is_image(image):
            raise InvalidInput(f"input.image: give a data URI in base64, {_EXAMPLE}")
        return image
    try:
        return base64.b64decode(data, validate=True)  # most are written as RFC 4648 has it
    except ValueError:
        pass
    try:
        return decode_base64(_percent_decoded(data.partition("#")[0]))
    except ValueError as error:
        raise InvalidInput(f"input.image: not valid base64: {error}") from None


def decode_base64(data: bytes) -> bytes:
    """WHATWG's forgiving base64, and the alphabet for URLs (RFC 4648, section 5).

    White space and padding are left out, wherever padding is missing or too long.

    Raises ValueError with the reason.
    """
    data = data.translate(_URL_SAFE, _WHITE_SPACE).rstrip(b"=")
    if wrong := data.translate(None, _ALPHABET):
        raise ValueError(f"it has the character {wrong[:1].decode('ascii', 'backslashreplace')!r}")
    if len(data) % 4 == 1:
        raise ValueError(f"a character is missing or too many: it has {len(data):,}")
    return base64.b64decode(data + b"=" * (-len(data) % 4))


def _percent_decoded(text: str) -> bytes:
    """The text with its percent-encoded bytes decoded, a piece at a time.

    Raises InvalidInput for more escapes than a client has reason to send: each takes long.
    """
    if text.count("%") > _MAX_ESCAPES:
        raise InvalidInput(
            f"input.image: the data URI has more than {_MAX_ESCAPES:,} percent-encoded characters;"
            " send base64 as it is"
        )
    pieces, at = bytearray(), 0
    while at < len(text):
        end = at + _PIECE_CHARS
        escape = text.rfind("%", end - 2, end)  # two more characters may belong to it
        end = escape if at < escape else end
        pieces += unquote_to_bytes(text[at:end].encode(errors="replace"))
        at = end
    return bytes(pieces)
