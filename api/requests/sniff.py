"""Kinds of bodies by their first bytes, where the type says nothing or is missing."""

from sluice.errors import InvalidInput

# JPEG, PNG, GIF, TIFF in both byte orders, BigTIFF, BMP, JPEG XL, JPEG 2000.
_IMAGES = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"BM",
    b"\xff\x0a",
    b"\0\0\0\x0cJXL ",
    b"\0\0\0\x0cjP  ",
)
_UTF_8_MARK = b"\xef\xbb\xbf"
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")


def is_image(data: bytes) -> bool:
    """True if the bytes begin as those of an image, of a format that is read here or not."""
    in_riff = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    return data.startswith(_IMAGES) or in_riff or data[4:8] == b"ftyp"


def is_zip(data: bytes) -> bool:
    """True if the bytes begin as those of a ZIP, with entries or without."""
    return data.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def is_json(data: bytes) -> bool:
    """True if the first character is that of a JSON object, in any encoding of Unicode."""
    text = data[:200].removeprefix(_UTF_8_MARK)
    for mark in _WIDE_MARKS:
        text = text.removeprefix(mark)
    return text.replace(b"\0", b"").lstrip(b" \t\r\n").startswith(b"{")


def is_text_image(data: bytes) -> bool:
    """True if the bytes are the text of a URL or of a `data:` URI."""
    return data[:100].lstrip().lower().startswith((b"data:", b"http:", b"https:"))


def utf_8(body: bytes) -> bytes:
    """A JSON text without its byte order mark (RFC 8259, section 8.1).

    Raises InvalidInput for UTF-16 and UTF-32: JSON between systems is in UTF-8.
    """
    if body.startswith(_UTF_8_MARK):
        return body[len(_UTF_8_MARK) :]
    if body.startswith(_WIDE_MARKS) or b"\0" in body[:4]:
        raise InvalidInput(
            "the JSON is in UTF-16 or UTF-32, as some tools of Windows write it;"
            " send it in UTF-8, with a byte order mark or without"
        )
    return body
