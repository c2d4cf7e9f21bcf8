"""From a source image to the network's canvas, and from canvas coordinates back.

There are two frames. *Network* pixels belong to the canvas that a model sees.
*Source* pixels belong to the image that a client sent.
In both, x runs right and y runs down from the top left corner. Sizes are (height, width).
"""

from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from sluice.models import Placement
from sluice.vision.boxes import Floats

Pixels = npt.NDArray[np.uint8]

_MAX_SCALED_PIXELS = 4_000_000
PADDING = 114  # the grey that YOLO models are trained with


@dataclass(frozen=True)
class Letterbox:
    """A source image's place on the network's canvas, padded with grey.

    The scaled image keeps its aspect ratio unless it is stretched. The rounding is the one that
    YOLO models are trained with: an odd pixel of padding goes below or right.
    """

    source_hw: tuple[int, int]
    """The image's height and width, in source pixels."""
    network_hw: tuple[int, int]
    """The canvas's height and width, in network pixels."""
    resized_hw: tuple[int, int]
    """The scaled image's height and width, in network pixels."""
    top: int
    """The scaled image's first row on the canvas."""
    left: int
    """The scaled image's first column on the canvas."""
    placement: Placement = Placement.CENTRE

    @classmethod
    def fit(
        cls,
        source_hw: tuple[int, int],
        network_hw: tuple[int, int],
        placement: Placement = Placement.CENTRE,
    ) -> "Letterbox":
        """Place an image of `source_hw` on a canvas of `network_hw`.

        Raises ValueError if a side is not positive.
        """
        _check_sides(source_hw, network_hw)
        if placement is Placement.STRETCH:
            return cls(source_hw, network_hw, network_hw, 0, 0, placement)
        scale = min(network_hw[0] / source_hw[0], network_hw[1] / source_hw[1])
        # The short side of a very long image may scale to less than one pixel.
        if placement is Placement.CORNER:  # YOLOX cuts fractions of a pixel off
            height, width = (max(1, int(side * scale)) for side in source_hw)
            return cls(source_hw, network_hw, (height, width), 0, 0, placement)
        height, width = (max(1, round(side * scale)) for side in source_hw)
        # The 0.1 decides halves: 2.5 px become 2 at the top or left, and 3 on the other side.
        top = round((network_hw[0] - height) / 2 - 0.1)
        left = round((network_hw[1] - width) / 2 - 0.1)
        return cls(source_hw, network_hw, (height, width), top, left)

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Network pixels per source pixel, along x and along y.

        Rounded sides make the two differ a little. YOLOX, whose images are in the corner, maps
        back by one number, which its sides were cut from.
        """
        if self.placement is Placement.CORNER:
            scale = min(
                self.network_hw[0] / self.source_hw[0], self.network_hw[1] / self.source_hw[1]
            )
            return scale, scale
        return self.resized_hw[1] / self.source_hw[1], self.resized_hw[0] / self.source_hw[0]

    def apply(self, image: Pixels, out: Pixels | None = None) -> Pixels:
        """Draw `image` (*source_hw, c) uint8 on the canvas (*network_hw, c) uint8, and return it.

        c is 3 for colour, 1 for grey. `out` is the canvas to draw on, such as a view on shared
        memory. The rows of `out` must be contiguous.
        Raises ValueError if `image` or `out` has another shape or dtype.
        """
        channels = _channels(image)
        _check_pixels("the image", image, self.source_hw, channels)
        canvas = np.empty((*self.network_hw, channels), np.uint8) if out is None else out
        _check_pixels("the canvas", canvas, self.network_hw, channels)
        if canvas.strides[1:] != (channels, 1):
            raise ValueError("the canvas's rows must be contiguous")
        bottom, right = self.top + self.resized_hw[0], self.left + self.resized_hw[1]
        canvas[: self.top] = PADDING
        canvas[bottom:] = PADDING
        canvas[self.top : bottom, : self.left] = PADDING
        canvas[self.top : bottom, right:] = PADDING
        inside = canvas[self.top : bottom, self.left : right]
        if self.resized_hw == self.source_hw:
            inside[:] = image
        elif channels == 1:  # OpenCV's result has no axis for one channel
            inside[..., 0] = cv2.resize(image, self.resized_hw[::-1])
        else:
            cv2.resize(image, self.resized_hw[::-1], dst=inside, interpolation=cv2.INTER_LINEAR)
        return canvas

    def to_source(self, points: Floats, *, clip: bool = True) -> Floats:
        """Map network pixels to source pixels.

        `points` is (..., 2k), with x and y alternating in the last axis. Examples are points (n, 2)
        or (n, k, 2), and boxes (n, 4) as x1, y1, x2, y2. Returns a new float32 array of the same
        shape, clipped to the source image unless `clip` is False.
        """
        pairs = points.reshape(*points.shape[:-1], points.shape[-1] // 2, 2).astype(np.float32)
        pairs -= np.array((self.left, self.top), np.float32)
        pairs /= np.array(self.scale_xy, np.float32)
        if clip:
            np.clip(pairs, 0, np.array(self.source_hw[::-1], np.float32), out=pairs)
        return pairs.reshape(points.shape)


@dataclass(frozen=True)
class CentreCrop:
    """A classifier's view of a source image: scaled to cover the canvas, and cut to its middle.

    On a canvas that is not square, the image is stretched and nothing is cut.
    """

    source_hw: tuple[int, int]
    """The image's height and width, in source pixels."""
    network_hw: tuple[int, int]
    """The canvas's height and width, in network pixels."""
    resized_hw: tuple[int, int]
    """The scaled image's height and width, in network pixels."""
    top: int
    """The crop's first row in the scaled image."""
    left: int
    """The crop's first column in the scaled image."""

    @classmethod
    def fit(cls, source_hw: tuple[int, int], network_hw: tuple[int, int]) -> "CentreCrop":
        """Cover a canvas of `network_hw` with an image of `source_hw`.

        Raises ValueError if a side is not positive.
        """
        _check_sides(source_hw, network_hw)
        if network_hw[0] != network_hw[1]:
            return cls(source_hw, network_hw, network_hw, 0, 0)
        scale = max(Fraction(network_hw[0], source_hw[0]), Fraction(network_hw[1], source_hw[1]))
        height, width = (int(side * scale) for side in source_hw)
        top, left = round((height - network_hw[0]) / 2), round((width - network_hw[1]) / 2)
        return cls(source_hw, network_hw, (height, width), top, left)

    def apply(self, image: Pixels, out: Pixels | None = None) -> Pixels:
        """Draw `image` on the canvas. Shapes, dtypes, `out` and errors are those of Letterbox."""
        channels = _channels(image)
        _check_pixels("the image", image, self.source_hw, channels)
        canvas = np.empty((*self.network_hw, channels), np.uint8) if out is None else out
        _check_pixels("the canvas", canvas, self.network_hw, channels)
        drawing = Image.fromarray(image[..., 0] if channels == 1 else image)
        canvas[...] = np.asarray(self._scaled(drawing)).reshape(canvas.shape)
        return canvas

    def _scaled(self, drawing: Image.Image) -> Image.Image:
        """Scale with Pillow's filter, a triangle as wide as two pixels of the result, and cut.

        Classifiers are trained with this filter. OpenCV's INTER_LINEAR reads only two rows of the
        source, and gives other pixels.
        """
        (height, width), (top, left) = self.network_hw, (self.top, self.left)
        if self.resized_hw[0] * self.resized_hw[1] <= _MAX_SCALED_PIXELS:
            whole = drawing.resize(self.resized_hw[::-1], Image.Resampling.BILINEAR)
            return whole.crop((left, top, left + width, top + height))
        # Of a thread of an image, only the crop is scaled. Rounding may differ by one.
        step_y, step_x = (
            source / resized
            for source, resized in zip(self.source_hw, self.resized_hw, strict=True)
        )
        right = min((left + width) * step_x, self.source_hw[1])
        bottom = min((top + height) * step_y, self.source_hw[0])
        box = (left * step_x, top * step_y, right, bottom)
        return drawing.resize((width, height), Image.Resampling.BILINEAR, box)


def _check_sides(*sizes: tuple[int, int]) -> None:
    for size in sizes:
        if min(size) < 1:
            raise ValueError(f"an image's sides must be positive, not {size}")


def _channels(image: Pixels) -> int:
    return 1 if image.shape[-1:] == (1,) else 3


def _check_pixels(what: str, pixels: Pixels, hw: tuple[int, int], channels: int) -> None:
    if pixels.shape != (*hw, channels) or pixels.dtype != np.uint8:
        raise ValueError(
            f"{what} must be {(*hw, channels)} uint8, not {pixels.shape} {pixels.dtype}"
        )
