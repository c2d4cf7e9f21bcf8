"""PNG: its chunks, and the picture without what stands beside it.

The format is that of the PNG specification, third edition (W3C).
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from sluice.images import ifd
from sluice.images.header import Header, check_size, damaged, not_read, truncated

START = b"\x89PNG\r\n\x1a\n"
_PICTURE = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
# Colour type: samples a pixel, and the allowed depths (table 12).
_COLOURS = {
    0: (1, (1, 2, 4, 8, 16)),
    2: (3, (8, 16)),
    3: (1, (1, 2, 4, 8)),
    4: (2, (8, 16)),
    6: (4, (8, 16)),
}
_MOST_CHUNKS = 100_000
_RAW_PROFILE_BYTES = 300_000  # EXIF has at most 65,533 bytes, here written as hex digits


@dataclass(frozen=True)
class Png:
    """The facts in the chunks."""

    width: int
    height: int
    depth: int
    """Bits a sample."""
    colour: int
    """The colour type: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha."""
    transparency: bytes
    """The chunk tRNS: a palette's alphas, or the colour that is transparent; b"" for none."""
    orientation: int

    @property
    def key(self) -> tuple[int, ...] | None:
        """The transparent colour of a grey (one number) or an RGB picture (three)."""
        size = {0: 2, 2: 6}.get(self.colour)
        if size is None or len(self.transparency) < size:
            return None
        numbers = struct.unpack(f">{size // 2}H", self.transparency[:size])
        return tuple(number & ((1 << self.depth) - 1) for number in numbers)

    @property
    def alpha(self) -> bool:
        return self.colour >= 4 or (self.colour == 3 and self.transparency != b"") or bool(self.key)


def inspect(data: bytes, max_pixels: int) -> Header:
    """Raises NotAnImage, TruncatedImage or ImageTooLarge."""
    png = read(data, max_pixels)
    samples = _COLOURS[png.colour][0]
    stored = 0
    if png.colour >= 4 or (png.colour == 3 and png.alpha):
        stored = 4 * (2 if png.depth == 16 else 1)
    elif png.key:
        stored = samples * (2 if png.depth == 16 else 1)
    return Header(
        format="PNG",
        width=png.width,
        height=png.height,
        alpha=png.alpha,
        orientation=png.orientation,
        # OpenCV holds the stored pixels twice for a moment.
        decode_bytes=png.width * png.height * max(6, 2 * stored, 3 + stored),
    )


def read(data: bytes, max_pixels: int) -> Png:
    """Read the chunks up to the end mark. Raises NotAnImage, TruncatedImage or ImageTooLarge."""
    header, size = b"", (0, 0)
    transparency, turned, profiled, palette, rows = b"", None, None, False, False
    for kind, at, length in _chunks(data):
        if not header:
            header = _header(data, kind, at, length)
            size = struct.unpack(">II", header[:8])
            check_size(*size, max_pixels)
        elif kind == b"PLTE":
            palette = True
        elif kind == b"IDAT":
            rows = True
        elif kind == b"tRNS" and not rows and _is_intact(data, at, length):
            transparency = data[at : at + length]
        elif kind == b"eXIf" and turned is None and _is_intact(data, at, length):
            turned = ifd.orientation(data[at : at + length])
        elif kind in (b"tEXt", b"zTXt", b"iTXt") and profiled is None:
            profiled = _raw_profile(kind, data[at : at + length])
        elif not kind[0] & 0x20 and kind not in _PICTURE:  # a capital: the picture needs it
            raise not_read("PNG", f"the chunk {_name(kind)}", "save it as an ordinary PNG")
    depth, colour = header[8], header[9]
    if colour == 3 and not palette:
        raise damaged("PNG", "it has no palette")
    if not rows:
        raise damaged("PNG", "it has no pixels")
    return Png(*size, depth, colour, transparency, turned or profiled or 1)


def picture(data: bytes, *, keep_alphas: bool) -> bytes:
    """Return the PNG with the picture's own chunks only.

    A decoder then meets no damage, no bulk and no animation beside the picture.
    `keep_alphas` keeps a palette's alphas. Raises NotAnImage for a wrong checksum.
    """
    kept = [START]
    for kind, at, length in _chunks(data):
        if kind in _PICTURE:
            if not _is_intact(data, at, length):
                raise damaged("PNG", f"the checksum of its chunk {_name(kind)} is wrong")
        elif not (keep_alphas and kind == b"tRNS" and _is_intact(data, at, length)):
            continue
        kept.append(data[at - 8 : at + length + 4])
    return b"".join(kept)


def ends_early(data: bytes, png: Png) -> bool:
    """Return whether the packed pixels end before the last row does; slow."""
    unpacker, unpacked = zlib.decompressobj(), 0
    expected = png.height * (png.width * _COLOURS[png.colour][0] * png.depth // 8)
    for kind, at, length in _chunks(data):
        part = data[at : at + length] if kind == b"IDAT" else b""
        while part and not unpacker.eof:
            try:
                unpacked += len(unpacker.decompress(part, 2**20))
            except zlib.error:
                return False
            part = unpacker.unconsumed_tail
    return unpacked < expected or not unpacker.eof


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's type, where its content lies, and the length of that, up to IEND.

    Raises TruncatedImage where the bytes end before IEND does.
    """
    at = len(START)
    for _ in range(_MOST_CHUNKS):
        if at + 12 > len(data):
            raise truncated(data, "PNG")
        length, kind = struct.unpack_from(">I4s", data, at)
        if not kind.isalpha():
            raise damaged("PNG", "its chunks are out of step")
        if at + 12 + length > len(data):
            raise truncated(data, "PNG")
        yield kind, at + 8, length
        if kind == b"IEND":
            return
        at += 12 + length
    raise not_read("PNG", f"more than {_MOST_CHUNKS:,} chunks", "save it as an ordinary PNG")


def _header(data: bytes, kind: bytes, at: int, length: int) -> bytes:
    """Check the first chunk and return its content."""
    if kind == b"CgBI":
        raise not_read(
            "PNG", "the chunk CgBI, as Xcode writes it for apps", "send the PNG from before that"
        )
    if kind != b"IHDR" or length != 13:
        raise damaged("PNG", "it does not begin with a header")
    if not _is_intact(data, at, length):
        raise damaged("PNG", "the checksum of its header is wrong")
    depth, colour, packing, filtering, interlaced = data[at + 8 : at + 13]
    if colour not in _COLOURS or depth not in _COLOURS[colour][1]:
        raise damaged("PNG", f"its header has colour type {colour} with {depth} bits")
    if packing or filtering or interlaced > 1:
        raise damaged("PNG", "its header names an unknown method")
    return data[at : at + 13]


def _is_intact(data: bytes, at: int, length: int) -> bool:
    content = memoryview(data)[at - 4 : at + length]
    return zlib.crc32(content) == int.from_bytes(data[at + length : at + length + 4], "big")


def _name(kind: bytes) -> str:
    return kind.decode("ascii", "replace")


def _raw_profile(kind: bytes, content: bytes) -> int | None:
    """The orientation in EXIF that ImageMagick writes as hex digits into a text; None for none."""
    keyword, _, rest = content.partition(b"\0")
    if keyword not in (b"Raw profile type exif", b"Raw profile type APP1"):
        return None
    try:
        if kind == b"iTXt":
            packed, rest = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[-1]
        else:
            packed, rest = kind == b"zTXt", rest[1:] if kind == b"zTXt" else rest
        if packed:
            rest = zlib.decompressobj().decompress(rest, _RAW_PROFILE_BYTES)
        # A line feed, the profile's name, its length, and the digits in lines.
        digits = b"".join(rest[:_RAW_PROFILE_BYTES].split()[2:])
        exif = bytes.fromhex(digits[: len(digits) & ~1].decode("ascii"))
    except (zlib.error, ValueError):
        return None
    return ifd.orientation(exif)
