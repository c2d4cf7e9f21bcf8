"""From an image file's bytes to pixels."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from sluice.errors import NotAnImage
from sluice.images import inspect

Pixels = npt.NDArray[np.uint8]

# EXIF's orientation → what to do to an array of rows: turns of 90° counter-clockwise, then whether to mirror left to right.
# CIPA DC-008 (Exif 2.32), tag 0x0112: where the stored image's row 0 and column 0 belong.
_ORIENTATIONS = {1: (0, False), 2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False)}
_WHITE = 255


def decode(data: bytes, max_pixels: int) -> Pixels:
    """The image upright, (height, width, 3) uint8 RGB. 16 bits are scaled to 8; transparency is shown on white.

    Raises NotAnImage, TruncatedImage or ImageTooLarge.
    """
    header = inspect(data, max_pixels)
    buffer = np.frombuffer(data, np.uint8)
    try:
        blended = _blended(buffer, header.orientation) if header.alpha else None
        pixels = blended if blended is not None else cv2.imdecode(buffer, cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise NotAnImage(f"the {header.format} can't be decoded: {error.err or 'damaged'}") from error
    if pixels is None:
        raise NotAnImage(f"the {header.format} can't be decoded: it is damaged, or ends too early")
    return np.asarray(pixels, np.uint8)


def _blended(buffer: Pixels, orientation: int) -> Pixels | None:
    """An image with an alpha channel on white; None where the decoder finds no alpha (an unused palette entry, say)."""
    raw: npt.NDArray[Any] | None = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)  # this mode leaves EXIF's orientation alone
    if raw is None or raw.ndim != 3 or raw.shape[2] != 4:
        return None
    full = np.iinfo(raw.dtype).max
    colour = cv2.cvtColor(raw, cv2.COLOR_BGRA2RGB).astype(np.float32)
    alpha = raw[:, :, 3:].astype(np.float32) / full
    blended = (colour * alpha + full * (1 - alpha)) * (_WHITE / full)
    turns, mirrored = _ORIENTATIONS[orientation]
    upright = np.rot90(np.rint(blended).astype(np.uint8), turns)
    return np.ascontiguousarray(np.fliplr(upright) if mirrored else upright)
