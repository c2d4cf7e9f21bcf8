"""Image files that no encoder at hand writes, built from their parts."""

import struct
import zlib
from collections.abc import Sequence
from io import BytesIO

from PIL import Image

PNG_START = b"\x89PNG\r\n\x1a\n"


def save(image: Image.Image, kind: str, **options: object) -> bytes:
    """The image as a file of the format `kind`."""
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def exif(order: str, orientation: int, kind: int = 3) -> bytes:
    """EXIF with an orientation of the TIFF type `kind`, in struct's byte order `order`."""
    letter = {1: "B", 3: "H", 4: "I", 8: "h", 9: "i"}[kind]
    value = struct.pack(order + letter, orientation).ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 1)
    return head + struct.pack(order + "HHI", 0x0112, kind, 1) + value + bytes(4)


def png_chunk(kind: bytes, content: bytes, *, wrong: bool = False) -> bytes:
    """A chunk of PNG, with a wrong checksum where asked."""
    checksum = zlib.crc32(kind + content) ^ wrong
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(size: tuple[int, int], depth: int, colour: int, rows: bytes, beside: bytes = b"") -> bytes:
    """A PNG whose `rows` each begin with their filter's byte. `beside` stands before the pixels."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    return (
        PNG_START
        + png_chunk(b"IHDR", header)
        + beside
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def png_with(whole: bytes, *chunks: bytes) -> bytes:
    """The PNG with more chunks behind its header."""
    return whole[:33] + b"".join(chunks) + whole[33:]


def jpeg_with_exif(whole: bytes, content: bytes) -> bytes:
    """The JPEG with EXIF as its first segment."""
    segment = b"Exif\0\0" + content
    return whole[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + whole[2:]


def webp_with(whole: bytes, size: tuple[int, int], kind: bytes, content: bytes) -> bytes:
    """A simple WebP in the extended form, with one more chunk."""
    sides = b"".join((side - 1).to_bytes(3, "little") for side in size)
    flags = bytes([0x08 if kind == b"EXIF" else 0, 0, 0, 0])
    body = riff_chunk(b"VP8X", flags + sides) + whole[12:] + riff_chunk(kind, content)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def riff_chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) & 1)


def tiff(pages: Sequence[dict[int, tuple[int, ...]]], strips: Sequence[bytes]) -> bytes:
    """A little-endian TIFF. Each page has one strip; its fields are whole numbers of 32 bits."""
    out = bytearray(b"II*\0" + bytes(4))
    link = 4
    for fields, strip in zip(pages, strips, strict=True):
        strip_at = len(out)
        out += strip + b"\0" * (len(strip) & 1)
        entries = b""
        for tag, values in sorted((fields | {273: (strip_at,), 279: (len(strip),)}).items()):
            content = struct.pack(f"<{len(values)}I", *values)
            if len(content) > 4:
                content, extra = struct.pack("<I", len(out)), content
                out += extra
            entries += struct.pack("<HHI", tag, 4, len(values)) + content
        out[link : link + 4] = struct.pack("<I", len(out))
        out += struct.pack("<H", len(entries) // 12) + entries
        link = len(out)
        out += bytes(4)
    return bytes(out)


def bmp(
    size: tuple[int, int], bits: int, rows: bytes, masks: Sequence[int] = (), packing: int = 0
) -> bytes:
    """A BMP with the header of version 5. A negative height means rows from the top."""
    header = struct.pack("<IiiHHIIiiII", 124, *size, 1, bits, packing, len(rows), 0, 0, 0, 0)
    header = (header + struct.pack("<4I", *(*masks, 0, 0, 0, 0)[:4])).ljust(124, b"\0")
    return b"BM" + struct.pack("<IHHI", 138 + len(rows), 0, 0, 138) + header + rows
