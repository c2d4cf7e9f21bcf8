"""Where pixels and boxes are: letterbox and its inverse, crops, overlaps and their suppression. Arrays in, arrays out.

Two frames are used. *Network* pixels are those of the canvas that a model sees; *source* pixels are those of the
image that a client sent. In both, x runs right and y runs down from the top left corner. Sizes are (height, width).
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from sluice.vision.boxes import Floats

Pixels = npt.NDArray[np.uint8]

PADDING = 114  # the grey that YOLO models are trained with


@dataclass(frozen=True)
class Letterbox:
    """How a source image lies on the network's canvas: scaled to fit with its shape kept, centred, padded with grey.

    Sizes are (height, width) in pixels. `resized_hw`, `top` and `left` are the scaled image's size and place on the
    canvas. The rounding is the one that YOLO models are trained with: an odd pixel of padding goes below or right.
    """

    source_hw: tuple[int, int]
    network_hw: tuple[int, int]
    resized_hw: tuple[int, int]
    top: int
    left: int

    @classmethod
    def fit(cls, source_hw: tuple[int, int], network_hw: tuple[int, int]) -> "Letterbox":
        """Place an image of `source_hw` on a canvas of `network_hw`. Raises ValueError if a side is not positive."""
        _check_sides(source_hw, network_hw)
        scale = min(network_hw[0] / source_hw[0], network_hw[1] / source_hw[1])
        # A line of pixels may scale to less than one: at least one is kept.
        height, width = (max(1, round(side * scale)) for side in source_hw)
        # The 0.1 settles halves: 2.5 px is 2 on the top and left, and 3 on the other side.
        top = round((network_hw[0] - height) / 2 - 0.1)
        left = round((network_hw[1] - width) / 2 - 0.1)
        return cls(source_hw, network_hw, (height, width), top, left)

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Network pixels per source pixel along x and along y: they differ a little where a side was rounded."""
        return self.resized_hw[1] / self.source_hw[1], self.resized_hw[0] / self.source_hw[0]

    def apply(self, image: Pixels, out: Pixels | None = None) -> Pixels:
        """Draw `image`, (height, width, 3) uint8, on the canvas, and return the canvas, (*network_hw, 3) uint8.

        `out` may be given to be written to in place, such as a view on shared memory; its rows must be contiguous.
        Raises ValueError if `image` or `out` has another shape or dtype than this letterbox was made for.
        """
        _check_pixels("the image", image, self.source_hw)
        canvas = np.empty((*self.network_hw, 3), np.uint8) if out is None else out
        _check_pixels("the canvas", canvas, self.network_hw)
        if canvas.strides[1:] != (3, 1):
            raise ValueError("the canvas's rows must be contiguous")
        bottom, right = self.top + self.resized_hw[0], self.left + self.resized_hw[1]
        canvas[: self.top] = PADDING
        canvas[bottom:] = PADDING
        canvas[self.top : bottom, : self.left] = PADDING
        canvas[self.top : bottom, right:] = PADDING
        inside = canvas[self.top : bottom, self.left : right]
        if self.resized_hw == self.source_hw:
            inside[:] = image
        else:
            cv2.resize(image, self.resized_hw[::-1], dst=inside, interpolation=cv2.INTER_LINEAR)
        return canvas

    def to_source(self, points: Floats, *, clip: bool = True) -> Floats:
        """Map network pixels to source pixels.

        `points` is (..., 2k) with x and y taking turns in the last axis: points (n, 2) or (n, k, 2), boxes (n, 4) as
        x1, y1, x2, y2. Returns a new float32 array of that shape, clipped to the source image unless `clip` is False.
        """
        pairs = points.reshape(*points.shape[:-1], points.shape[-1] // 2, 2).astype(np.float32)
        pairs -= np.array((self.left, self.top), np.float32)
        pairs /= np.array(self.scale_xy, np.float32)
        if clip:
            np.clip(pairs, 0, np.array(self.source_hw[::-1], np.float32), out=pairs)
        return pairs.reshape(points.shape)


@dataclass(frozen=True)
class CentreCrop:
    """How a classifier sees a source image: scaled so that its shorter side fits, and the middle of it cut out.

    The fields are Letterbox's, except that `top` and `left` are where the crop starts within the scaled image.
    """

    source_hw: tuple[int, int]
    network_hw: tuple[int, int]
    resized_hw: tuple[int, int]
    top: int
    left: int

    @classmethod
    def fit(cls, source_hw: tuple[int, int], network_hw: tuple[int, int]) -> "CentreCrop":
        """Cover a canvas of `network_hw` with an image of `source_hw`. Raises ValueError if a side is not positive."""
        _check_sides(source_hw, network_hw)
        scale = max(Fraction(network_hw[0], source_hw[0]), Fraction(network_hw[1], source_hw[1]))
        height, width = (int(side * scale) for side in source_hw)
        top, left = round((height - network_hw[0]) / 2), round((width - network_hw[1]) / 2)
        return cls(source_hw, network_hw, (height, width), top, left)

    def apply(self, image: Pixels, out: Pixels | None = None) -> Pixels:
        """Draw `image` on the canvas; shapes, dtypes, `out` and errors as for Letterbox.apply."""
        _check_pixels("the image", image, self.source_hw)
        canvas = np.empty((*self.network_hw, 3), np.uint8) if out is None else out
        _check_pixels("the canvas", canvas, self.network_hw)
        pixels: npt.NDArray[Any] = image
        # The longer side first: what is cut off is then never scaled, however long it is.
        for axis in sorted((0, 1), key=lambda axis: -self.resized_hw[axis]):
            pixels = _resample(
                pixels,
                axis,
                self.resized_hw[axis],
                (self.top, self.left)[axis],
                self.network_hw[axis],
            )
        np.rint(pixels, out=canvas, casting="unsafe")
        return canvas


def _resample(image: npt.NDArray[Any], axis: int, size: int, start: int, count: int) -> Floats:
    """Scale `image`, (height, width, 3), to `size` along `axis`, and return the `count` rows or columns from `start`.

    With a triangle as wide as two rows of the result, as Pillow's bilinear filter has it, which classifiers are trained
    with. OpenCV's INTER_LINEAR looks at two rows of the source however many there are, and gives other pixels.
    """
    rows = image.swapaxes(0, axis)
    scale = len(rows) / size
    reach = max(scale, 1.0)
    result = np.empty((count, *rows.shape[1:]), np.float32)
    for i in range(count):
        centre = (start + i + 0.5) * scale
        first, last = max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), len(rows))
        weights = np.maximum(1 - np.abs(np.arange(first, last) + 0.5 - centre) / reach, 0)
        weights = (weights / weights.sum()).astype(np.float32)
        result[i] = np.tensordot(weights, rows[first:last].astype(np.float32, order="C"), 1)
    return result.swapaxes(0, axis)


def _check_sides(*sizes: tuple[int, int]) -> None:
    for size in sizes:
        if min(size) < 1:
            raise ValueError(f"an image's sides must be positive, not {size}")


def _check_pixels(what: str, pixels: Pixels, hw: tuple[int, int]) -> None:
    if pixels.shape != (*hw, 3) or pixels.dtype != np.uint8:
        raise ValueError(f"{what} must be {(*hw, 3)} uint8, not {pixels.shape} {pixels.dtype}")
