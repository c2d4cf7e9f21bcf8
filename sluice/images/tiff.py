"""TIFF: which page is the picture, and whether its form is read.

The format is that of TIFF 6.0; `NewSubfileType` marks reduced pages and masks.
"""

from dataclasses import dataclass
from typing import Any

from sluice.images import ifd, pillow
from sluice.images.header import Header, check_size, damaged, not_read, truncated

STARTS = (b"II\x2a\0", b"MM\0\x2a", b"II\x2b\0", b"MM\0\x2b")

_NEW_SUBFILE_TYPE, _SUBFILE_TYPE = 254, 255
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIPS, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANES = 273, 277, 278, 279, 284
_TILES, _TILE_BYTES, _SUB_DIRECTORIES, _SAMPLE_FORMAT = 324, 325, 330, 339
_REDUCED, _MASK = 1, 4
_MOST_STRIPS = 100_000  # each costs time, and most of all in Pillow
# None, CCITT (3), LZW, JPEG (2), Deflate (2), PackBits, LZMA, Zstandard: what libtiff has here.
_COMPRESSIONS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000})
_FORMATS = {2: "signed samples", 3: "floating-point samples"}
_SAVE = "save it with samples of 8 or 16 bits without a sign"


@dataclass(frozen=True)
class Tiff:
    """The page that is the picture."""

    width: int
    height: int
    """In pixels, before `orientation` is applied."""
    orientation: int
    inverted: bool
    """Zero is white, and Pillow does not turn that round: so with 16 bits."""
    strip_bytes: int
    """The bytes of one unpacked strip, where strips are packed."""
    ycbcr: bool
    alone: bytes
    """A TIFF whose first page is this one, with an orientation of 1, for Pillow."""


def inspect(data: bytes, max_pixels: int) -> Header:
    """Raises NotAnImage, TruncatedImage or ImageTooLarge."""
    tiff = read(data, max_pixels)
    image = pillow.open_image(tiff.alone, "TIFF")
    pillow.check_mode(image)
    pixels = tiff.width * tiff.height
    stored = pillow.stored_bytes(image) + 3 + 4 * tiff.ycbcr
    return Header(
        format="TIFF",
        width=tiff.width,
        height=tiff.height,
        alpha=pillow.has_alpha(image),
        orientation=tiff.orientation,
        decode_bytes=pixels * max(stored, 6) + tiff.strip_bytes,
    )


def read(data: bytes, max_pixels: int) -> Tiff:
    """Raises NotAnImage, TruncatedImage or ImageTooLarge."""
    try:
        page = _picture(data)
        size = page.integer(_WIDTH, 0), page.integer(_HEIGHT, 0)
        check_size(*size, max_pixels)
        _check_form(page)
        _check_length(page)
        return _tiff(page, *size)
    except ifd.CutShort:
        raise truncated(data, "TIFF") from None


def _picture(data: bytes) -> ifd.Directory:
    """The first page that is neither a reduced version nor a mask, else the largest reduced one."""
    reduced: list[tuple[int, ifd.Directory]] = []
    for page in ifd.directories(data):
        kind = page.integer(_NEW_SUBFILE_TYPE, 0)
        if not kind & (_REDUCED | _MASK) and page.integer(_SUBFILE_TYPE, 1) != 2:
            return page
        if not kind & _MASK:
            if page.integers(_SUB_DIRECTORIES):
                raise not_read(
                    "TIFF",
                    "its picture in a sub-directory, as cameras write raw files",
                    "develop it, and send a JPEG",
                )
            reduced.append((page.integer(_WIDTH, 0) * page.integer(_HEIGHT, 0), page))
    if not reduced:
        raise damaged("TIFF", "it has no page")
    return max(reduced, key=lambda entry: entry[0])[1]


def _check_form(page: ifd.Directory) -> None:
    """Raises NotAnImage where the samples are not whole numbers of 1 to 16 bits without a sign."""
    for number in set(page.integers(_SAMPLE_FORMAT) or (1,)):
        if number != 1:
            # 4 is "undefined", which says nothing about the samples.
            raise not_read("TIFF", _FORMATS.get(number, f"sample format {number}"), _SAVE)
    if any(page.count(tag) > _MOST_STRIPS for tag in (_STRIPS, _TILES, _BITS)):
        raise not_read("TIFF", f"more than {_MOST_STRIPS:,} strips", "save it with larger strips")
    packing = page.integer(_COMPRESSION, 1)
    if packing not in _COMPRESSIONS:
        raise not_read("TIFF", f"compression {packing}", "save it with LZW or without compression")
    bits = page.integers(_BITS) or (1,)
    if max(bits) > 16:
        raise not_read("TIFF", f"samples of {max(bits)} bits", _SAVE)


def _check_length(page: ifd.Directory) -> None:
    """Raises CutShort where a strip or tile lies past the end of the bytes."""
    for offsets, sizes in ((_STRIPS, _STRIP_BYTES), (_TILES, _TILE_BYTES)):
        starts = page.integers(offsets) or ()
        lengths = page.integers(sizes) or (0,) * len(starts)
        if page.integer(_COMPRESSION, 1) == 1 and offsets == _STRIPS:
            lengths = tuple(min(length, _strip_bytes(page)) for length in lengths)
        for start, length in zip(starts, lengths, strict=False):
            if start + min(length, 1) > len(page.data) or (length and start >= len(page.data)):
                raise ifd.CutShort
        if starts and len(starts) == len(lengths):
            last = max(range(len(starts)), key=lambda index: starts[index])
            if starts[last] + lengths[last] > len(page.data):
                raise ifd.CutShort


def _tiff(page: ifd.Directory, width: int, height: int) -> Tiff:
    bits = page.integers(_BITS) or (1,)
    packed = page.integer(_COMPRESSION, 1) != 1 and _STRIPS in page.entries
    turned = page.integer(ifd.ORIENTATION, 1)
    return Tiff(
        width=width,
        height=height,
        orientation=turned if 1 <= turned <= 8 else 1,
        inverted=page.integer(_PHOTOMETRIC, 0) == 0 and max(bits) == 16,
        strip_bytes=_strip_bytes(page) if packed else 0,
        ycbcr=page.integer(_PHOTOMETRIC, 0) == 6,
        alone=_alone(page),
    )


def _strip_bytes(page: ifd.Directory) -> int:
    """The bytes of one strip that is not packed. Writers name greater numbers now and then."""
    bits, height = page.integers(_BITS) or (1,), page.integer(_HEIGHT, 0)
    rows = min(page.integer(_ROWS, height) or height, height)
    return rows * -(-page.integer(_WIDTH, 0) * max(bits) * page.integer(_SAMPLES, 1) // 8)


def _alone(page: ifd.Directory) -> bytes:
    """The TIFF with this page as its first, and that page upright."""
    data = bytearray(page.data)
    order: Any = "little" if page.order == "<" else "big"
    if bytes(data[2:4]) in (b"\x2b\0", b"\0\x2b"):
        data[8:16] = page.at.to_bytes(8, order)
    else:
        data[4:8] = page.at.to_bytes(4, order)
    if turned := page.entries.get(ifd.ORIENTATION):
        # The tag becomes a private one, which decoders skip.
        data[turned.at : turned.at + 2] = (0xFFFE).to_bytes(2, order)
    return bytes(data)
