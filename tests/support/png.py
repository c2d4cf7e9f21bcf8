"""PNGs whose pixels are damaged and whose structure is whole."""

import struct
import zlib
from collections.abc import Callable

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def zeroed(pixels: bytes) -> bytes:
    start = len(pixels) // 2
    return pixels[:start] + bytes(200) + pixels[start + 200 :]


def with_pixels(png: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """A PNG whose compressed pixels are changed, and whose checksums are right all the same."""
    chunks, at = [], len(_SIGNATURE)
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        chunks.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + size]))
        at += 12 + size
    pixels = change(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    head = next(data for kind, data in chunks if kind == b"IHDR")
    parts = [(b"IHDR", head), (b"IDAT", pixels), (b"IEND", b"")]
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
