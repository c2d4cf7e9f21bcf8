"""Draw transparent pixels on white, in bands of rows, so that little memory is needed beside."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

_BAND_PIXELS = 250_000


def flatten(stored: npt.NDArray[np.uint8]) -> Pixels:
    """Draw OpenCV's pixels on white.

    `stored` is (height, width), (height, width, 3) BGR or (height, width, 4) BGRA, uint8 or uint16.
    Returns (height, width, 3) uint8 RGB.
    """
    pixels = np.empty((*stored.shape[:2], 3), np.uint8)
    for rows in _bands(*stored.shape[:2]):
        band = to_8_bits(stored[rows])
        if band.ndim == 2:
            pixels[rows] = band[:, :, None]
        elif band.shape[2] == 3:
            pixels[rows] = band[:, :, ::-1]
        else:
            pixels[rows] = blend(band[:, :, 2::-1], band[:, :, 3])
    return pixels


def key_on_white(stored: npt.NDArray[np.uint8], key: tuple[int, ...]) -> Pixels:
    """Do the same as `flatten`, and make pixels that equal `key` white.

    `key` is one grey, or red, green and blue.
    """
    pixels = np.empty((*stored.shape[:2], 3), np.uint8)
    colour = np.array(key[::-1], stored.dtype)
    for rows in _bands(*stored.shape[:2]):
        band = stored[rows]
        holes = band == colour[0] if band.ndim == 2 else (band == colour).all(axis=2)
        pixels[rows] = flatten(band)
        pixels[rows][holes] = 255
    return pixels


def flatten_image(image: Image.Image, *, inverted: bool = False) -> Pixels:
    """Draw Pillow's image on white. `inverted` means that zero is white.

    Returns (height, width, 3) uint8 RGB.
    """
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    table = _palette(image) if image.mode == "P" else None
    for rows in _bands(image.height, image.width):
        band = image.crop((0, rows.start, image.width, min(rows.stop, image.height)))
        if table is not None:
            pixels[rows] = table[np.asarray(band)]
        elif image.mode.startswith("I;16"):
            grey = to_8_bits(np.asarray(band).astype(np.uint16))
            pixels[rows] = (255 - grey if inverted else grey)[:, :, None]
        else:
            pixels[rows] = _band_on_white(band, image.info.get("transparency"))
    return pixels


def blend(colours: npt.NDArray[np.uint8], alphas: npt.NDArray[np.uint8]) -> Pixels:
    """Blend (height, width, 3) with white by (height, width); 255 is opaque."""
    alpha = alphas.astype(np.uint16)[:, :, None]
    # Both products together are at most 255 * 255, which uint16 holds.
    return ((colours * alpha + (255 * (255 - alpha) + 127)) // 255).astype(np.uint8)


def to_8_bits(samples: npt.NDArray[np.uint8 | np.uint16]) -> npt.NDArray[np.uint8]:
    """The upper 8 bits of samples of 16 bits, as libpng and browsers take them."""
    return (samples >> 8).astype(np.uint8) if samples.dtype == np.uint16 else samples  # type: ignore[return-value]


def _band_on_white(band: Image.Image, key: object) -> Pixels:
    if band.mode == "La":
        band = band.convert("LA")
    elif band.mode == "RGBa":
        band = band.convert("RGBA")
    if band.mode in ("LA", "PA"):
        band = band.convert("RGBA")
    if band.mode != "RGBA":
        opaque = np.asarray(band.convert("RGB"))
        if isinstance(key, int) and band.mode in ("1", "L"):  # GIFs in grey
            opaque = np.where((np.asarray(band) == key)[:, :, None], np.uint8(255), opaque)
        return opaque
    stored = np.asarray(band)
    return blend(stored[:, :, :3], stored[:, :, 3])


def _palette(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The 256 colours of a palette on white, (256, 3)."""
    colours = np.zeros((256, 3), np.uint8)
    listed = np.array((image.getpalette() or [])[:768], np.uint8).reshape(-1, 3)
    colours[: len(listed)] = listed
    match image.info.get("transparency"):
        case int(index) if 0 <= index < 256:
            colours[index] = 255
    return colours


def _bands(height: int, width: int) -> Iterator[slice]:
    rows = max(1, _BAND_PIXELS // max(1, width))
    for top in range(0, height, rows):
        yield slice(top, top + rows)
