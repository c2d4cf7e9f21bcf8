"""Decode BMPs: rows of any depth and masks, and run-length encoded ones."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sluice.images.bmp import Bmp
from worker.on_white import Pixels, blend

_BAND_BYTES = 1_000_000


class EndsEarly(Exception):
    """The bytes end before the last row does."""


def decode_bmp(data: bytes, bmp: Bmp) -> Pixels:
    """Return (height, width, 3) uint8 RGB, transparency on white.

    An alpha that is 0 in every pixel says nothing: the picture is opaque then.
    Raises EndsEarly where run-length encoded rows do.
    """
    if bmp.packed:
        data = _unpacked(data, bmp)
        bmp = replace(bmp, bits=8, at=0)
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


def _unpacked(data: bytes, bmp: Bmp) -> bytes:
    """The rows of 8 bits that RLE8 or RLE4 encode. Skipped pixels get the first colour."""
    stride = (bmp.width + 3) // 4 * 4
    rows, at, x, y = bytearray(stride * bmp.height), bmp.at, 0, 0
    while y < bmp.height and not (y == bmp.height - 1 and x >= bmp.width):
        if at + 2 > len(data):
            raise EndsEarly
        count, value = data[at], data[at + 1]
        at += 2
        if count:
            colours = bytes([value]) if bmp.bits == 8 else bytes([value >> 4, value & 15])
            run = colours * count
        elif value == 0:  # the end of the row
            x, y = 0, y + 1
            continue
        elif value == 1:  # the end of the picture
            if y < bmp.height - 1:  # whole rows are missing
                raise EndsEarly
            break
        elif value == 2:  # a step to the right and up
            x, y, at = x + data[at], y + data[at + 1], at + 2
            continue
        else:  # so many pixels one by one, up to a whole number of 16 bits
            count, size = value, value if bmp.bits == 8 else (value + 1) // 2
            run = data[at : at + size]
            if len(run) < size:
                raise EndsEarly
            if bmp.bits == 4:
                run = bytes(half for byte in run for half in (byte >> 4, byte & 15))
            at += size + (size & 1)
        run = run[: min(count, max(0, bmp.width - x))]
        rows[y * stride + x : y * stride + x + len(run)] = run
        x += count
    return bytes(rows)


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
