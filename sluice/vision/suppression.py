"""Non-maximum suppression of boxes, straight and rotated."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sluice.vision.boxes import Floats, Ints, box_iou, rotated_iou

MAX_CANDIDATES = 30_000  # more boxes than this above the threshold are noise, and suppression is quadratic at worst
MAX_ROTATED = 2_048  # rotated boxes cost some ten times as much to compare
_BLOCK = 128  # candidates settled at once; measured fastest between 300 and 8400 candidates


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
        clashes: npt.NDArray[np.bool_] = (
            self.overlap(self.boxes[first], self.boxes[second]) > self.iou
        )
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
