"""BMP: its headers, those of OS/2 and those of Windows.

The structures are BITMAPCOREHEADER, BITMAPINFOHEADER, BITMAPV4HEADER and BITMAPV5HEADER.
"""

import struct
from dataclasses import dataclass

from sluice.images.header import Header, check_size, damaged, not_read, truncated

_FILE_HEADER = 14
_SIZES = (12, 40, 52, 56, 64, 108, 124)
_RGB, _RLE8, _RLE4, _BITFIELDS, _ALPHA_BITFIELDS = 0, 1, 2, 3, 6
_MASKS = {16: (0x7C00, 0x3E0, 0x1F, 0), 24: (0xFF0000, 0xFF00, 0xFF, 0)}
_MASKS[32] = _MASKS[24]


@dataclass(frozen=True)
class Bmp:
    """The facts in the headers."""

    width: int
    height: int
    top_down: bool
    bits: int
    """Bits a pixel."""
    packed: bool
    """The rows are run-length encoded."""
    masks: tuple[int, int, int, int]
    """The bits of red, green, blue and alpha in a pixel of 16, 24 or 32 bits."""
    palette: bytes
    """Blue, green, red of each colour."""
    at: int
    """The place in the file at which the rows begin."""

    @property
    def stride(self) -> int:
        """Bytes of a row that is not packed."""
        return (self.width * self.bits + 31) // 32 * 4


def inspect(data: bytes, max_pixels: int) -> Header:
    """Raises NotAnImage, TruncatedImage or ImageTooLarge."""
    bmp = read(data, max_pixels)
    pixels = bmp.width * bmp.height
    return Header("BMP", bmp.width, bmp.height, bmp.masks[3] != 0, 1, pixels * 6)


def read(data: bytes, max_pixels: int) -> Bmp:
    """Raises NotAnImage, TruncatedImage or ImageTooLarge."""
    if len(data) < _FILE_HEADER + 4:
        raise truncated(data, "BMP")
    at, size = struct.unpack_from("<II", data, 10)
    if size not in _SIZES:
        raise not_read("BMP", f"a header of {size} bytes", "save it as an ordinary BMP or a PNG")
    if len(data) < _FILE_HEADER + size:
        raise truncated(data, "BMP")
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        packing, colours = _RGB, 0
    else:
        width, height, _, bits, packing = struct.unpack_from("<iiHHI", data, 18)
        (colours,) = struct.unpack_from("<I", data, 46)
    check_size(width, abs(height), max_pixels)
    _check_form(bits, packing, size)
    masks, masks_end = _masks(data, bits, packing, size)
    palette, end = _palette(data, masks_end, bits, colours, 3 if size == 12 else 4)
    bmp = Bmp(
        width,
        abs(height),
        height < 0,
        bits,
        packing in (_RLE8, _RLE4),
        masks,
        palette,
        # Some writers name the palette's place instead, or none.
        max(at, end) if bits <= 8 and at <= masks_end else at or end,
    )
    if bmp.at >= len(data) or (not bmp.packed and bmp.at + bmp.stride * bmp.height > len(data)):
        raise truncated(data, "BMP")
    return bmp


def _check_form(bits: int, packing: int, size: int) -> None:
    allowed = {_RGB: (1, 2, 4, 8, 16, 24, 32), _RLE8: (8,), _RLE4: (4,)}
    if size != 64:  # of OS/2: 3 is another packing there
        allowed |= {_BITFIELDS: (16, 24, 32), _ALPHA_BITFIELDS: (16, 32)}
    if packing not in allowed:
        raise not_read("BMP", f"compression {packing}", "save it without compression")
    if bits not in allowed[packing]:
        raise damaged("BMP", f"its header has {bits} bits a pixel with compression {packing}")


def _masks(
    data: bytes, bits: int, packing: int, size: int
) -> tuple[tuple[int, int, int, int], int]:
    """The masks, and where the palette begins."""
    at, end = _FILE_HEADER + 40, _FILE_HEADER + size
    default = _MASKS.get(bits, (0, 0, 0, 0))
    if packing not in (_BITFIELDS, _ALPHA_BITFIELDS):
        return default, end
    count = 4 if size >= 56 or packing == _ALPHA_BITFIELDS else 3
    if at + 4 * count > len(data):
        raise truncated(data, "BMP")
    masks = struct.unpack_from(f"<{count}I", data, at)
    if not any(masks[:3]):
        return default, max(end, at + 4 * count)
    red, green, blue, alpha = (*masks, 0)[:4]
    return (red, green, blue, alpha), max(end, at + 4 * count)


def _palette(data: bytes, at: int, bits: int, colours: int, size: int) -> tuple[bytes, int]:
    """The palette's blue, green and red bytes, and where it ends."""
    if bits > 8:
        return b"", at + colours * size if colours < 65536 else at
    count = min(colours or 1 << bits, 1 << bits)
    entries = data[at : at + count * size]
    kept = bytearray(len(entries) // size * 3)
    for channel in range(3):
        kept[channel::3] = entries[channel::size][: len(kept) // 3]
    return bytes(kept), at + count * size
