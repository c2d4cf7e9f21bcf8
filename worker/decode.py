"""Decode an image file's bytes to pixels."""

from io import BytesIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from sluice.errors import NotAnImage
from sluice.images import FORMATS, Header, inspect

Pixels = npt.NDArray[np.uint8]


def decode(data: bytes, max_pixels: int) -> Pixels:
    """Return the image upright, (height, width, 3) uint8 RGB.

    Samples of 16 bits are scaled to 8. Transparency is drawn on white.
    Raises NotAnImage, TruncatedImage or ImageTooLarge.
    """
    header = inspect(data, max_pixels)
    pixels = (
        _on_white(data, header)
        if header.alpha
        else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    )
    if pixels is None:
        raise NotAnImage(f"the {header.format} can't be decoded: the file is damaged or incomplete")
    return np.asarray(pixels, np.uint8)


def _on_white(data: bytes, header: Header) -> Pixels:
    """Decode with Pillow: OpenCV's treatment of alpha differs from one format to another."""
    try:
        image = ImageOps.exif_transpose(Image.open(BytesIO(data), formats=FORMATS)).convert("RGBA")
    except (OSError, SyntaxError, ValueError) as error:
        raise NotAnImage(f"the {header.format} can't be decoded: {error}") from error
    white = Image.new("RGBA", image.size, "white")
    return np.array(Image.alpha_composite(white, image).convert("RGB"))
