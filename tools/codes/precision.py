"""Average precision by COCO's rules, in pure numpy.

There are 101 recall points, and IoU thresholds from 0.50 to 0.95 in steps of 0.05.

For each class, the detections are taken in falling order of score. A detection takes the free,
unignored truth of the largest overlap. A detection without a truth is a false positive, with one
exception: at least half of its area lies within an ignored truth of the class. Then the detection
is dropped, like COCO's crowds.

Precision is made monotone, and read at recalls 0, 0.01 … 1. Beyond the highest recall reached,
precision is 0.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
IOUS = np.linspace(0.5, 0.95, 10)


def intersection(a: Array, b: Array) -> Array:
    """Shared areas of boxes (n, 4) and (m, 4) as x1, y1, x2, y2: (n, m)."""
    side = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    return np.clip(side, 0, None).prod(2)


def area(boxes: Array) -> Array:
    """Areas of boxes: (n, 4) to (n,)."""
    return np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(1)


def iou(a: Array, b: Array) -> Array:
    """Intersection over union: (n, 4) and (m, 4) to (n, m)."""
    both = intersection(a, b)
    return both / np.maximum(area(a)[:, None] + area(b)[None] - both, 1e-9)


def suppress(boxes: Array, scores: Array, threshold: float) -> NDArray[np.int64]:
    """Greedy suppression within one class: the indices of the kept boxes, best first."""
    order, keep = np.argsort(-scores, kind="stable"), []
    overlaps = iou(boxes, boxes)
    while len(order):
        keep.append(order[0])
        order = order[1:][overlaps[order[0], order[1:]] <= threshold]
    return np.array(keep, np.int64)


def match(
    boxes: Array, scores: Array, truth: Array, ignored: NDArray[np.bool_]
) -> tuple[Array, NDArray[np.int8]]:
    """Judge one image's detections of one class.

    Returns the scores in falling order (n,), and verdicts (10, n) for each of `IOUS`: 1 right,
    0 wrong, -1 not counted.
    """
    order = np.argsort(-scores, kind="stable")
    boxes, scores = boxes[order], scores[order]
    wanted, unwanted = truth[~ignored], truth[ignored]
    overlaps = iou(boxes, wanted)
    inside = intersection(boxes, unwanted) / np.maximum(area(boxes), 1e-9)[:, None]
    dropped = (inside >= 0.5).any(1) if len(unwanted) else np.zeros(len(boxes), bool)
    verdict = np.zeros((len(IOUS), len(boxes)), np.int8)
    for i, threshold in enumerate(IOUS):
        free = np.ones(len(wanted), bool)
        for j in range(len(boxes)):
            row = np.where(free, overlaps[j], -1.0)
            if len(row) and row.max() >= threshold:
                free[row.argmax()] = False
                verdict[i, j] = 1
            elif dropped[j]:
                verdict[i, j] = -1
    return scores, verdict


def average_precision(scores: Array, right: NDArray[np.bool_], total: int) -> float:
    """AP of the detections of all images: scores (n,), verdicts (n,), the number of truths."""
    if total == 0:
        return float("nan")
    right = right[np.argsort(-scores, kind="stable")]
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(hits / total, np.linspace(0, 1, 101), side="left")
    return float(
        np.where(
            at < len(precision), np.append(precision, 0.0)[np.minimum(at, len(precision))], 0.0
        ).mean()
    )


def class_precision(parts: list[tuple[Array, NDArray[np.int8]]], total: int) -> Array:
    """AP at each of `IOUS` from the verdicts of all images on one class: (10,)."""
    scores = np.concatenate([s for s, _ in parts]) if parts else np.zeros(0)
    verdict = np.concatenate([v for _, v in parts], 1) if parts else np.zeros((len(IOUS), 0))
    return np.array([average_precision(scores[v >= 0], v[v >= 0] > 0, total) for v in verdict])
