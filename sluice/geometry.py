"""Where pixels and boxes are: letterbox and its inverse, crops, overlaps and their suppression. Arrays in, arrays out.

Two frames are used. *Network* pixels are those of the canvas that a model sees; *source* pixels are those of the
image that a client sent. In both, x runs right and y runs down from the top left corner. Sizes are (height, width).
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]

PADDING = 114  # the grey that YOLO models are trained with
MAX_CANDIDATES = 30_000  # more boxes than this above the threshold are noise, and suppression is quadratic at worst
MAX_ROTATED = 2_048  # rotated boxes cost some ten times as much to compare
_BLOCK = 128  # candidates settled at once; measured fastest between 300 and 8400 candidates


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
            pixels = _resample(pixels, axis, self.resized_hw[axis], (self.top, self.left)[axis], self.network_hw[axis])
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


def xywh_to_xyxy(boxes: Floats) -> Floats:
    """Boxes (n, 4) as centre x, centre y, width, height to boxes (n, 4) as x1, y1, x2, y2; both float32, any frame."""
    half = boxes[:, 2:] / 2
    return np.concatenate((boxes[:, :2] - half, boxes[:, :2] + half), axis=1)


def rotated_corners(boxes: Floats) -> Floats:
    """Corners (n, 4, 2) of rotated boxes (n, 5): centre x, centre y, width, height, and the angle in radians.

    float32, any frame; the angle is from the x axis to the width, clockwise as seen. The corners go round the box, from
    the one at +width/2, +height/2.
    """
    cosine, sine = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    along = np.stack((cosine, sine), axis=1) * boxes[:, 2:3] / 2
    across = np.stack((-sine, cosine), axis=1) * boxes[:, 3:4] / 2
    steps = np.stack((along + across, along - across, -along - across, across - along), axis=1)
    return (boxes[:, None, :2] + steps).astype(np.float32)


def box_iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union of boxes a (n, 4) with boxes b (m, 4), as x1, y1, x2, y2 in one frame: (n, m) float32.

    A box without area overlaps nothing, not even itself.
    """
    width = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    height = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    union = _area(a)[:, None] + _area(b)[None, :] - shared
    iou: Floats = shared / np.maximum(union, np.finfo(np.float32).tiny)
    return iou


def _area(boxes: Floats) -> Floats:
    area: Floats = np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)
    return area


def rotated_iou(a: Floats, b: Floats) -> Floats:
    """ProbIoU of rotated boxes a (n, 5) with b (m, 5), as centre x, y, width, height, radians: (n, m) float32 in 0..1.

    Boxes are seen as Gaussians, and their overlap is 1 less their Hellinger distance, which comes of their
    Bhattacharyya distance: Llerena et al., "Gaussian Bounding Boxes and Probabilistic Intersection-over-Union for
    Object Detection", https://arxiv.org/abs/2106.06072. It is not the overlap of areas.
    """
    xx_a, yy_a, xy_a = (part[:, None] for part in _covariance(a))
    xx_b, yy_b, xy_b = (part[None, :] for part in _covariance(b))
    xx, yy, xy = xx_a + xx_b, yy_a + yy_b, xy_a + xy_b
    dx, dy = a[:, None, 0] - b[None, :, 0], a[:, None, 1] - b[None, :, 1]
    tiny = np.finfo(np.float64).tiny
    determinant = np.maximum(xx * yy - xy**2, tiny)
    product = np.maximum(xx_a * yy_a - xy_a**2, 0) * np.maximum(xx_b * yy_b - xy_b**2, 0)
    apart = (yy * dx**2 + xx * dy**2 - 2 * xy * dx * dy) / (4 * determinant)
    unlike = np.log(np.maximum(determinant / np.maximum(4 * np.sqrt(product), tiny), 1)) / 2
    overlap: Floats = (1 - np.sqrt(1 - np.exp(-(apart + unlike)))).astype(np.float32)
    return overlap


def _covariance(boxes: Floats) -> tuple[npt.NDArray[np.float64], ...]:
    """xx, yy and xy of each rotated box seen as a Gaussian: a uniform box of side s has the variance s²/12."""
    width, height = boxes[:, 2].astype(np.float64) ** 2 / 12, boxes[:, 3].astype(np.float64) ** 2 / 12
    cosine, sine = np.cos(boxes[:, 4].astype(np.float64)), np.sin(boxes[:, 4].astype(np.float64))
    return (
        width * cosine**2 + height * sine**2,
        width * sine**2 + height * cosine**2,
        (width - height) * cosine * sine,
    )


def suppress(
    boxes: Floats,
    scores: Floats,
    class_ids: Ints,
    *,
    iou: float,
    max_detections: int,
    class_agnostic: bool = False,
) -> Ints:
    """Greedy non-maximum suppression: keep the best box, drop those that overlap it too much, and so on.

    `boxes` (n, 4) are x1, y1, x2, y2 in any frame; `scores` (n,) are final, with objectness in them; `class_ids` (n,).
    A box is dropped where its overlap with a kept box is strictly greater than `iou` and both are of one class, or
    `class_agnostic` is set. At most MAX_CANDIDATES of the best boxes are looked at.
    Returns the kept indices, int64, the best first, at most `max_detections`; of equal scores the lower index is first.
    """
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    clashes = _Clashes(boxes, None if class_agnostic else class_ids, iou, box_iou)
    return _settle(order, clashes, max_detections, dropped_drop=False)


def suppress_rotated(
    boxes: Floats,
    scores: Floats,
    class_ids: Ints,
    *,
    iou: float,
    max_detections: int,
    class_agnostic: bool = False,
) -> Ints:
    """Suppress rotated boxes (n, 5), centre x, centre y, width, height, radians, by their ProbIoU; else as suppress.

    Here a dropped box drops others too, which the reference results of rotated YOLO models show: "Fast NMS" (Bolya et
    al., "YOLACT", https://arxiv.org/abs/1904.02689). At most MAX_ROTATED of the best boxes are looked at.
    """
    order = np.argsort(-scores, kind="stable")[:MAX_ROTATED]
    clashes = _Clashes(boxes, None if class_agnostic else class_ids, iou, rotated_iou)
    return _settle(order, clashes, max_detections, dropped_drop=True)


@dataclass(frozen=True)
class _Clashes:
    """Which boxes can't be kept beside which others: (n, m) bool for n and m indices. Without class ids, all."""

    boxes: Floats
    class_ids: Ints | None
    iou: float
    overlap: Callable[[Floats, Floats], Floats]

    def __call__(self, first: Ints, second: Ints) -> npt.NDArray[np.bool_]:
        clashes: npt.NDArray[np.bool_] = self.overlap(self.boxes[first], self.boxes[second]) > self.iou
        if self.class_ids is not None:
            clashes &= self.class_ids[first, None] == self.class_ids[None, second]
        return clashes


def _settle(order: Ints, clashes: _Clashes, max_detections: int, *, dropped_drop: bool) -> Ints:
    """Go through `order`, a block at a time: compare it with what came before, then within itself."""
    kept = order[:0]
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        alive = ~np.any(clashes(order[:start] if dropped_drop else kept, block), axis=0)
        free = ~clashes(block, block)
        for i in range(len(block)):
            if alive[i] or dropped_drop:
                alive[i + 1 :] &= free[i, i + 1 :]
        kept = np.concatenate((kept, block[alive]))
        if len(kept) >= max_detections:
            break
    return kept[:max_detections]
