"""Non-maximum suppression of straight and rotated boxes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sluice.vision.boxes import Floats, Ints, box_iou, rotated_iou

# More boxes than these above the threshold are noise, and suppression is quadratic at worst.
MAX_CANDIDATES = 30_000
MAX_ROTATED = 2_048  # fewer, since rotated boxes cost about ten times as much to compare
_BLOCK = 128  # candidates compared at once


def suppress(
    boxes: Floats,
    scores: Floats,
    class_ids: Ints,
    *,
    iou: float,
    max_detections: int,
    class_agnostic: bool = False,
) -> Ints:
    """Greedy non-maximum suppression: keep the best box, drop what overlaps it too much, repeat.

    `boxes` (n, 4) are x1, y1, x2, y2 in any frame. `scores` (n,) are final: class times objectness.
    `class_ids` is (n,). A box is dropped where its overlap with a kept box of its class is strictly
    greater than `iou`. With `class_agnostic`, a kept box of any class counts. Only the
    MAX_CANDIDATES best boxes are read.

    Returns the kept indices, int64, the best first, at most `max_detections`. Of equal scores the
    lower index is first.
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
    """Suppress rotated boxes by their ProbIoU.

    `boxes` (n, 5) are centre x, centre y, width, height and radians. Other arguments and the result
    are those of suppress. Only the MAX_ROTATED best boxes are read.

    A dropped box drops others too, as in the reference results of rotated YOLO models. The method
    is "Fast NMS" of Bolya et al., "YOLACT", https://arxiv.org/abs/1904.02689
    """
    order = np.argsort(-scores, kind="stable")[:MAX_ROTATED]
    clashes = _Clashes(boxes, None if class_agnostic else class_ids, iou, rotated_iou)
    return _settle(order, clashes, max_detections, dropped_drop=True)


@dataclass(frozen=True)
class _Clashes:
    """Pairs of boxes that can't both be kept: (n, m) bool for n and m indices."""

    boxes: Floats
    class_ids: Ints | None
    """None where boxes of different classes clash too."""
    iou: float
    overlap: Callable[[Floats, Floats], Floats]

    def __call__(self, first: Ints, second: Ints) -> npt.NDArray[np.bool_]:
        clashes: npt.NDArray[np.bool_] = (
            self.overlap(self.boxes[first], self.boxes[second]) > self.iou
        )
        if self.class_ids is not None:
            clashes &= self.class_ids[first, None] == self.class_ids[None, second]
        return clashes


def _settle(order: Ints, clashes: _Clashes, max_detections: int, *, dropped_drop: bool) -> Ints:
    """Compare each block of `order` with the boxes before it, then its boxes with each other.

    With `dropped_drop`, a dropped box drops others too.
    """
    kept = order[:0]
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        rivals = order[:start] if dropped_drop else kept
        alive = (
            ~np.any(clashes(rivals, block), axis=0) if len(rivals) else np.ones(len(block), bool)
        )
        free = ~clashes(block, block)
        for i in range(len(block)):
            if alive[i] or dropped_drop:
                alive[i + 1 :] &= free[i, i + 1 :]
        kept = np.concatenate((kept, block[alive]))
        if len(kept) >= max_detections:
            break
    return kept[:max_detections]
