"""From the detections of overlapping tiles to those of the image.

An object in the overlap of two tiles is found twice. An object on the border of a tile is found
in part. The rule is told in `docs/decisions/0061-slicing.md`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from sluice.slicing import Slicing
from sluice.tiles import Tile
from sluice.vision.boxes import Floats, Ints
from sluice.vision.heads.common import DecodeParameters, Detections

Bools = npt.NDArray[np.bool_]
_NEAR = 0.01
"""A box that is nearer to a border than this part of the tile's side is cut by it."""
_NEAR_PX = 2.0
"""The same in pixels. The greater one counts."""
MAX_CANDIDATES = 3_000
"""Only so many detections of all parts are compared, the best ones: the rest is noise."""


@dataclass(frozen=True)
class Part:
    """The detections of one tile, or of the whole image."""

    tile: Tile
    detections: Detections
    """In pixels of the tile."""


@dataclass(frozen=True)
class _Found:
    """All detections of all parts, n in all, in source pixels."""

    detections: Detections
    part: Ints
    """(n,) int64: the index of the part."""
    cut: Bools
    """(n,): a border of the tile, inside the image, goes through the object."""


def merge(
    parts: Sequence[Part],
    source_hw: tuple[int, int],
    parameters: DecodeParameters,
    slicing: Slicing,
) -> Detections:
    """Return the image's detections, the best first, in source pixels.

    Detections of one part are never compared: its head has suppressed them. Two whole boxes from
    different parts are one object if their overlap is above `parameters.iou`, as within a part.
    If a border cuts one of them, they are one object if `slicing.metric` is above
    `slicing.threshold`. Of the boxes of one object, the best whole one is kept, with the best
    score of all. `parameters.max_detections` bounds the result, and only the MAX_CANDIDATES best
    detections are read.
    """
    found = _gather(parts, source_hw)
    scores = found.detections.scores.copy()
    order = np.lexsort((-scores, found.cut))
    clashing = _adjacency(_clashes(found, parts, parameters, slicing), len(scores))
    alive = np.ones(len(scores), bool)
    kept = []
    for index in order.tolist():
        if not alive[index]:
            continue
        kept.append(index)
        same = clashing[index]
        same = same[alive[same]]
        scores[index] = max([scores[index], *scores[same]])
        alive[same] = False
    best = np.array(kept, np.int64)
    best = best[np.argsort(-scores[best], kind="stable")][: parameters.max_detections]
    return _pick(replace(found.detections, scores=scores), best)


def _gather(parts: Sequence[Part], source_hw: tuple[int, int]) -> _Found:
    all_ = _joined([_moved(part.detections, part.tile) for part in parts])
    index = np.repeat(np.arange(len(parts)), [len(part.detections) for part in parts])
    cut = np.concatenate([_cut(part, source_hw) for part in parts])
    # In the order of the parts, which `_clashes` needs.
    best = np.sort(np.argsort(-all_.scores, kind="stable")[:MAX_CANDIDATES])
    return _Found(_pick(all_, best), index[best], cut[best])


def _moved(detections: Detections, tile: Tile) -> Detections:
    shift = np.array((tile.left, tile.top), np.float32)
    rotated, keypoints = detections.rotated, detections.keypoints
    if rotated is not None:
        rotated = rotated + np.array((tile.left, tile.top, 0, 0, 0), np.float32)
    if keypoints is not None:
        keypoints = keypoints.copy()
        keypoints[..., :2] += shift
    return replace(
        detections,
        boxes=detections.boxes + np.tile(shift, 2),
        rotated=rotated,
        keypoints=keypoints,
        corners=None if detections.corners is None else detections.corners + shift,
        polygons=detections.polygons and [polygon + shift for polygon in detections.polygons],
    )


def _joined(all_: Sequence[Detections]) -> Detections:
    first = all_[0]

    def join(name: str) -> npt.NDArray[np.float32] | None:
        if getattr(first, name) is None:
            return None
        return np.concatenate([getattr(detections, name) for detections in all_])

    return Detections(
        boxes=np.concatenate([detections.boxes for detections in all_]),
        scores=np.concatenate([detections.scores for detections in all_]),
        class_ids=np.concatenate([detections.class_ids for detections in all_]),
        keypoints=join("keypoints"),
        rotated=join("rotated"),
        corners=join("corners"),
        polygons=None
        if first.polygons is None
        else [polygon for detections in all_ for polygon in detections.polygons or ()],
    )


def _pick(detections: Detections, index: Ints) -> Detections:
    def pick(name: str) -> npt.NDArray[np.float32] | None:
        values = getattr(detections, name)
        return None if values is None else values[index]

    polygons = detections.polygons
    return Detections(
        boxes=detections.boxes[index],
        scores=detections.scores[index],
        class_ids=detections.class_ids[index],
        keypoints=pick("keypoints"),
        rotated=pick("rotated"),
        corners=pick("corners"),
        polygons=None if polygons is None else [polygons[i] for i in index.tolist()],
    )


def _cut(part: Part, source_hw: tuple[int, int]) -> Bools:
    """Return which boxes reach a border of the tile that is not the image's border."""
    tile, boxes = part.tile, part.detections.boxes
    near_x, near_y = (max(_NEAR_PX, _NEAR * side) for side in (tile.width, tile.height))
    cut = np.zeros(len(boxes), bool)
    if tile.left > 0:
        cut |= boxes[:, 0] < near_x
    if tile.top > 0:
        cut |= boxes[:, 1] < near_y
    if tile.left + tile.width < source_hw[1]:
        cut |= boxes[:, 2] > tile.width - near_x
    if tile.top + tile.height < source_hw[0]:
        cut |= boxes[:, 3] > tile.height - near_y
    return cut


def _clashes(
    found: _Found, parts: Sequence[Part], parameters: DecodeParameters, slicing: Slicing
) -> npt.NDArray[np.int64]:
    """Return the pairs of detections that are one object: (k, 2) int64."""
    starts = np.searchsorted(found.part, np.arange(len(parts) + 1))
    pairs = [
        _between(found, slice(starts[a], starts[a + 1]), slice(starts[b], starts[b + 1]))
        for a in range(len(parts))
        for b in range(a + 1, len(parts))
        if starts[a] < starts[a + 1] and starts[b] < starts[b + 1] and _meet(parts[a], parts[b])
    ]
    if not pairs:
        return np.empty((0, 2), np.int64)
    pair = np.concatenate(pairs)
    if not parameters.class_agnostic:
        classes = found.detections.class_ids
        pair = pair[classes[pair[:, 0]] == classes[pair[:, 1]]]
    shared, areas = _overlaps(found.detections, pair)
    tiny = np.finfo(np.float32).tiny
    iou = shared / np.maximum(areas.sum(axis=1) - shared, tiny)
    ios = shared / np.maximum(areas.min(axis=1), tiny)
    of_cut = (ios if slicing.metric == "ios" else iou) > slicing.threshold
    any_cut = found.cut[pair].any(axis=1)
    same: Bools = np.where(any_cut, of_cut, iou > parameters.iou)
    return pair[same]


def _meet(one: Part, other: Part) -> bool:
    a, b = one.tile, other.tile
    return (
        a.left < b.left + b.width
        and b.left < a.left + a.width
        and a.top < b.top + b.height
        and b.top < a.top + a.height
    )


def _between(found: _Found, first: slice, second: slice) -> npt.NDArray[np.int64]:
    """Return the pairs of two parts whose upright boxes touch."""
    a, b = found.detections.boxes[first], found.detections.boxes[second]
    touch = (a[:, None, :2] < b[None, :, 2:]) & (b[None, :, :2] < a[:, None, 2:])
    pair: npt.NDArray[np.int64] = np.argwhere(touch.all(axis=2))
    pair += (first.start, second.start)
    return pair


def _overlaps(
    detections: Detections, pair: npt.NDArray[np.int64]
) -> tuple[Floats, npt.NDArray[np.float32]]:
    """Return the shared area of each pair (k,), and the areas of its two boxes (k, 2)."""
    if detections.corners is not None:
        return _rotated_overlaps(detections.corners, pair)
    boxes = detections.boxes[pair]
    sides = boxes[..., 2:] - boxes[..., :2]
    shared = np.minimum(boxes[:, 0, 2:], boxes[:, 1, 2:]) - np.maximum(
        boxes[:, 0, :2], boxes[:, 1, :2]
    )
    return np.maximum(shared, 0).prod(axis=1), np.maximum(sides, 0).prod(axis=2)


def _rotated_overlaps(
    corners: Floats, pair: npt.NDArray[np.int64]
) -> tuple[Floats, npt.NDArray[np.float32]]:
    areas = np.array([cv2.contourArea(box) for box in corners], np.float32)
    shared = [cv2.intersectConvexConvex(corners[a], corners[b])[0] for a, b in pair.tolist()]
    return np.array(shared, np.float32), areas[pair]


def _adjacency(pair: npt.NDArray[np.int64], count: int) -> list[Ints]:
    """Return for each of `count` detections those that it clashes with."""
    both = np.concatenate((pair, pair[:, ::-1]))
    both = both[np.argsort(both[:, 0], kind="stable")]
    return np.split(both[:, 1], np.searchsorted(both[:, 0], np.arange(1, count)))
