"""The image of the speed table: a photograph of 810 x 1080 pixels, as a JPEG of about 137 kB."""

from io import BytesIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from sluice.local.paths import SAMPLES

WIDTH, HEIGHT, BYTES = 810, 1080, 137_000
PADDING = 114


def photograph() -> bytes:
    """A sample at the table's size, at the quality that comes nearest to `BYTES`."""
    source = Image.open(SAMPLES / "desk.jpg").convert("RGB")
    if source.width > source.height:
        source = source.transpose(Image.Transpose.ROTATE_90)
    scale = max(WIDTH / source.width, HEIGHT / source.height)
    image = source.resize((round(source.width * scale), round(source.height * scale)))
    image = image.crop((0, 0, WIDTH, HEIGHT))
    return min((_jpeg(image, quality) for quality in range(60, 100)), key=_distance)


def canvas(data: bytes, side: int) -> npt.NDArray[np.uint8]:
    """The letterboxed image (side, side, 3) uint8 RGB."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert image is not None
    scale = min(side / image.shape[0], side / image.shape[1])
    height, width = (round(length * scale) for length in image.shape[:2])
    top, left = (side - height) // 2, (side - width) // 2
    drawn = np.full((side, side, 3), PADDING, np.uint8)
    drawn[top : top + height, left : left + width] = cv2.resize(image, (width, height))
    return drawn


def _jpeg(image: Image.Image, quality: int) -> bytes:
    out = BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def _distance(data: bytes) -> int:
    return abs(len(data) - BYTES)


def small() -> bytes:
    """A grey picture of 64 x 48 pixels."""
    return _jpeg(Image.new("RGB", (64, 48), (99, 99, 99)), 75)
