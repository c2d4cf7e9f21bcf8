"""Decode an image file's bytes to upright RGB pixels.

The headers are read by `sluice.images`, and the decoders get the picture alone: OpenCV that of
JPEG, PNG and WebP, Pillow that of TIFF, GIF, AVIF and CMYK. A BMP needs none. Orientation and
transparency are applied here, for all formats alike.
"""

from collections.abc import Callable
from contextlib import nullcontext

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from sluice.errors import NotAnImage, SluiceError, TruncatedImage
from sluice.images import Header, bmp, inspect, jpeg, pillow, png, tiff, webp
from worker.bitmap import EndsEarly, decode_bmp
from worker.cut_short import is_cut_gif, is_cut_jpeg
from worker.memory import MemoryBudget
from worker.on_white import Pixels, flatten, flatten_image, key_on_white

# Bands of rows, and what the decoders keep for a strip or a block of rows.
_BESIDE_BYTES = 16 * 2**20


def decode(data: bytes, max_pixels: int, memory: MemoryBudget | None = None) -> Pixels:
    """Return the image upright, (height, width, 3) uint8 RGB.

    Of samples of 16 bits, the upper 8 count. Transparency is drawn on white.
    `memory` bounds what several threads decode at a time; None bounds nothing.
    Raises NotAnImage, TruncatedImage or ImageTooLarge.
    """
    header = inspect(data, max_pixels)
    with memory.reserve(header.decode_bytes + _BESIDE_BYTES) if memory else nullcontext():
        try:
            return _upright(_DECODERS[header.format](data, header), header.orientation)
        except (SluiceError, MemoryError):
            raise
        except Exception as error:
            # Pillow raises many classes on damaged pixels, such as struct.error and OSError.
            if "truncated" in str(error):
                raise _ends_early(header.format) from error
            raise _damaged(header.format, str(error)) from error


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn pixels as EXIF's orientation says (Exif 2.32, tag 0x0112)."""
    for turn in _TURNS.get(orientation, ()):
        pixels = np.ascontiguousarray(turn(pixels), np.uint8)
    return pixels


_TURNS: dict[int, tuple[Callable[[Pixels], cv2.typing.MatLike], ...]] = {
    2: (lambda pixels: cv2.flip(pixels, 1),),
    3: (lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),),
    4: (lambda pixels: cv2.flip(pixels, 0),),
    5: (cv2.transpose,),
    6: (lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),),
    7: (cv2.transpose, lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180)),
    8: (lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),),
}


def _jpeg(data: bytes, header: Header) -> Pixels:
    facts = jpeg.read(data)
    if len(facts.sampling) == 4 or facts.frame not in (0xC0, 0xC1, 0xC2):
        pixels = _by_pillow(data, "JPEG")
    else:
        pixels = _by_opencv(data, header, cv2.IMREAD_COLOR_RGB)
    if is_cut_jpeg(data, facts, pixels):
        raise _ends_early("JPEG")
    return pixels


def _png(data: bytes, header: Header) -> Pixels:
    facts = png.read(data, header.width * header.height)
    picture = png.picture(data, keep_alphas=facts.colour == 3)
    try:
        flag = cv2.IMREAD_UNCHANGED if facts.alpha else cv2.IMREAD_COLOR_RGB
        stored = _by_opencv(picture, header, flag)
    except NotAnImage:
        if png.ends_early(data, facts):
            raise _ends_early("PNG") from None
        raise
    if not facts.alpha:
        return stored
    if facts.key is None:
        return flatten(stored)
    # OpenCV spreads the samples of 1, 2 and 4 bits over 8.
    scale = 255 // ((1 << facts.depth) - 1) if facts.depth < 8 else 1
    return key_on_white(stored, tuple(scale * number for number in facts.key))


def _webp(data: bytes, header: Header) -> Pixels:
    facts = webp.read(data, header.width * header.height)
    flag = cv2.IMREAD_UNCHANGED if facts.alpha else cv2.IMREAD_COLOR_RGB
    frame = _by_opencv(facts.picture, header, flag, (facts.frame_height, facts.frame_width))
    pixels = flatten(frame) if facts.alpha else frame
    if pixels.shape[:2] == (header.height, header.width):
        return pixels
    canvas = np.full((header.height, header.width, 3), 255, np.uint8)
    top, left = facts.top, facts.left
    canvas[top : top + facts.frame_height, left : left + facts.frame_width] = pixels
    return canvas


def _tiff(data: bytes, header: Header) -> Pixels:
    facts = tiff.read(data, header.width * header.height)
    image = pillow.open_image(facts.alone, "TIFF")
    return flatten_image(_loaded(image), inverted=facts.inverted)


def _gif(data: bytes, header: Header) -> Pixels:
    image = pillow.open_image(data, "GIF")
    _, (left, top, right, bottom), blocks_at, _ = image.tile[0]  # type: ignore[attr-defined]
    pixels = flatten_image(_loaded(image))
    if is_cut_gif(data, blocks_at):
        raise _ends_early("GIF")
    # Outside its first frame, the canvas is transparent.
    pixels[:top] = pixels[bottom:] = 255
    pixels[:, :left] = pixels[:, right:] = 255
    return pixels


def _bmp(data: bytes, header: Header) -> Pixels:
    try:
        return decode_bmp(data, bmp.read(data, header.width * header.height))
    except EndsEarly:
        raise _ends_early("BMP") from None


def _avif(data: bytes, header: Header) -> Pixels:
    return _by_pillow(data, "AVIF")


_DECODERS: dict[str, Callable[[bytes, Header], Pixels]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "TIFF": _tiff,
    "GIF": _gif,
    "BMP": _bmp,
    "AVIF": _avif,
}


def _by_opencv(
    data: bytes, header: Header, flag: int, size: tuple[int, int] | None = None
) -> npt.NDArray[np.uint8]:
    """OpenCV's pixels of (height, width), in `flag`'s channels."""
    flag |= 0 if flag == cv2.IMREAD_UNCHANGED else cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    if pixels is None:
        raise _damaged(header.format, "its pixels end too early, or can't be read")
    if pixels.shape[:2] != (size or (header.height, header.width)):
        raise _damaged(header.format, "its header and its pixels differ in size")
    return pixels  # type: ignore[return-value]  # with IMREAD_UNCHANGED also uint16


def _by_pillow(data: bytes, name: str) -> Pixels:
    return flatten_image(_loaded(pillow.open_image(data, name)))


def _loaded(image: Image.Image) -> Image.Image:
    image.load()
    return image


def _ends_early(name: str) -> TruncatedImage:
    return TruncatedImage(f"the {name}'s pixels end before its last row; send the whole file")


def _damaged(name: str, reason: str) -> NotAnImage:
    return NotAnImage(f"the {name} can't be decoded: {reason}")
