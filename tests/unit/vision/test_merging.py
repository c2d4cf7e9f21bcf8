"""Merging the detections of tiles. `tests/unit/worker/test_slicing.py` has whole images."""

from dataclasses import replace

import numpy as np
import pytest

from sluice.slicing import Slicing
from sluice.tiles import Tile
from sluice.vision.heads.common import DecodeParameters, Detections
from sluice.vision.merging import MAX_CANDIDATES, Part, merge

PARAMETERS = DecodeParameters()
LEFT, RIGHT = Tile(0, 0, 100, 100), Tile(0, 80, 100, 100)
SOURCE_HW = (100, 180)


def _detections(*boxes: tuple[float, ...], scores: tuple[float, ...] = ()) -> Detections:
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.array(scores or [0.5] * len(boxes), np.float32),
        class_ids=np.zeros(len(boxes), np.int64),
    )


def _rotated(x: float, y: float, width: float, height: float) -> Detections:
    corners = np.array(
        [[[x, y - height / 2], [x + width / 2, y], [x, y + height / 2], [x - width / 2, y]]],
        np.float32,
    )
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return replace(
        _detections(box),
        corners=corners,
        rotated=np.array([[x, y, width, height, 0]], np.float32),
    )


def test_two_parts_of_a_border_are_one_object_only_where_they_overlap_by_the_threshold() -> None:
    """The object reaches from 70 to 110: each tile has a part, 30 and 30 wide, 20 in common."""
    parts = [
        Part(LEFT, _detections((70, 10, 100, 30), scores=(0.9,))),
        Part(RIGHT, _detections((0, 10, 30, 30), scores=(0.8,))),
    ]
    assert len(merge(parts, SOURCE_HW, PARAMETERS, Slicing(threshold=0.6))) == 1
    assert len(merge(parts, SOURCE_HW, PARAMETERS, Slicing(threshold=0.7))) == 2
    # 20 of 40 in all
    assert len(merge(parts, SOURCE_HW, PARAMETERS, Slicing(metric="iou", threshold=0.45))) == 1
    assert len(merge(parts, SOURCE_HW, PARAMETERS, Slicing(metric="iou", threshold=0.55))) == 2


def test_boxes_of_one_tile_are_never_compared() -> None:
    parts = [Part(LEFT, _detections((10, 10, 40, 40), (12, 12, 42, 42)))]
    assert len(merge(parts, SOURCE_HW, PARAMETERS, Slicing())) == 2


def test_rotated_boxes_are_compared_by_their_own_area() -> None:
    """The upright boxes overlap, and the rotated ones do not."""
    parts = [
        Part(LEFT, _rotated(82, 20, 12, 12)),
        Part(RIGHT, _rotated(12, 30, 12, 12)),  # its centre is at 92 in the image
    ]
    found = merge(parts, SOURCE_HW, replace(PARAMETERS, iou=0.0), Slicing(threshold=0))
    assert len(found) == 2
    assert found.rotated is not None
    assert sorted(found.rotated[:, 0].tolist()) == [82, 92]
    twice = [Part(LEFT, _rotated(90, 20, 10, 10)), Part(RIGHT, _rotated(10, 20, 10, 10))]
    assert len(merge(twice, SOURCE_HW, PARAMETERS, Slicing())) == 1


def test_masks_and_keypoints_move_with_their_tile() -> None:
    polygon = np.array([[1, 2], [3, 2], [3, 4]], np.float32)
    part = replace(
        _detections((1, 2, 3, 4)),
        polygons=[polygon],
        keypoints=np.array([[[2, 3, 0.5]]], np.float32),
    )
    none = replace(_detections(), polygons=[], keypoints=np.empty((0, 1, 3), np.float32))
    found = merge([Part(LEFT, none), Part(RIGHT, part)], SOURCE_HW, PARAMETERS, Slicing())
    assert found.polygons is not None
    assert found.polygons[0].tolist() == [[81, 2], [83, 2], [83, 4]]
    assert found.keypoints is not None
    assert found.keypoints[0, 0].tolist() == [82, 3, 0.5]


def test_only_so_many_detections_are_compared() -> None:
    number = MAX_CANDIDATES + 10
    boxes = [(x, 0, x + 0.5, 1) for x in np.linspace(0, 70, number)]
    scores = tuple(np.linspace(0.9, 0.1, number).tolist())
    parts = [Part(LEFT, _detections(*boxes, scores=scores)), Part(RIGHT, _detections())]
    parameters = replace(PARAMETERS, max_detections=number)
    found = merge(parts, SOURCE_HW, parameters, Slicing())
    assert len(found) == MAX_CANDIDATES
    assert found.scores[-1] == pytest.approx(scores[MAX_CANDIDATES - 1])
