"""Decode BMPs whose rows are not packed, with any masks."""

import numpy as np
import numpy.typing as npt

from sluice.images.bmp import Bmp
from worker.on_white import Pixels, blend

_BAND_BYTES = 1_000_000


def decode_bmp(data: bytes, bmp: Bmp) -> Pixels:
    """Return (height, width, 3) uint8 RGB, transparency on white.

    An alpha that is 0 in every pixel says nothing: the picture is opaque then.
    """
    rows = np.frombuffer(data, np.uint8, bmp.stride * bmp.height, bmp.at)
    rows = rows.reshape(bmp.height, bmp.stride)
    pixels = np.empty((bmp.height, bmp.width, 3), np.uint8)
    table = _table(bmp.palette)
    step = max(1, _BAND_BYTES // max(1, bmp.stride))
    bands = [slice(top, min(top + step, bmp.height)) for top in range(0, bmp.height, step)]
    transparent = bmp.masks[3] != 0 and any(
        (_values(rows[band], bmp) & np.uint32(bmp.masks[3])).any() for band in bands
    )
    for band in bands:
        if bmp.bits <= 8:
            pixels[band] = table[_indices(rows[band], bmp)]
        elif bmp.bits == 24:
            pixels[band] = rows[band][:, : 3 * bmp.width].reshape(-1, bmp.width, 3)[:, :, ::-1]
        else:
            values = _values(rows[band], bmp)
            colours = np.stack([_channel(values, mask) for mask in bmp.masks[:3]], axis=-1)
            if transparent:
                colours = blend(colours, _channel(values, bmp.masks[3]))
            pixels[band] = colours
    return pixels if bmp.top_down else np.ascontiguousarray(pixels[::-1])


def _indices(rows: npt.NDArray[np.uint8], bmp: Bmp) -> npt.NDArray[np.uint8]:
    """The palette's indices, (rows, width); the leftmost pixel has the highest bits."""
    if bmp.bits == 8:
        return rows[:, : bmp.width]
    shifts = np.arange(8 - bmp.bits, -1, -bmp.bits, dtype=np.uint8)
    spread = rows[:, :, None] >> shifts & np.uint8((1 << bmp.bits) - 1)
    return spread.reshape(len(rows), -1)[:, : bmp.width]


def _values(rows: npt.NDArray[np.uint8], bmp: Bmp) -> npt.NDArray[np.uint32]:
    """The pixels as numbers, (rows, width), of 16 or 32 bits."""
    if bmp.bits not in (16, 32):
        return np.zeros((len(rows), bmp.width), np.uint32)
    size = bmp.bits // 8
    packed = np.ascontiguousarray(rows[:, : bmp.width * size])
    return packed.view(f"<u{size}").astype(np.uint32)


def _channel(values: npt.NDArray[np.uint32], mask: int) -> npt.NDArray[np.uint8]:
    """The bits of `mask`, spread over 0 to 255."""
    if not mask:
        return np.zeros(values.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    samples = (values & np.uint32(mask)) >> np.uint32(shift)
    if most > 0xFFFF:
        samples, most = samples >> np.uint32(most.bit_length() - 8), 255
    return ((samples * np.uint32(255) + np.uint32(most // 2)) // np.uint32(most)).astype(np.uint8)


def _table(palette: bytes) -> npt.NDArray[np.uint8]:
    """The 256 colours, (256, 3) RGB; an index past the palette's end is black."""
    table = np.zeros((256, 3), np.uint8)
    listed = np.frombuffer(palette, np.uint8).reshape(-1, 3)
    table[: len(listed)] = listed[:, ::-1]
    return table
