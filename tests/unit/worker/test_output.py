"""The output's schema for every kind of result."""

import numpy as np

from sluice.vision.heads import Classification, Detections
from worker.output import describe

NAMES = ("cat", "dog")
BOX = {
    "x": 30.0,
    "y": 25.0,
    "width": 40.0,
    "height": 30.0,
    "confidence": 0.8,
    "class": "dog",
    "class_id": 1,
    "detection_id": "p-0",
}


def _one(**more: object) -> Detections:
    boxes = np.array([[10, 10, 50, 40]], np.float32)
    return Detections(boxes, np.array([0.8], np.float32), np.array([1]), **more)  # type: ignore[arg-type]


def test_a_box_has_its_centre_its_size_and_an_id() -> None:
    assert describe("p", _one(), NAMES, (60, 80)) == {
        "image": {"width": 80, "height": 60},
        "predictions": [BOX],
    }


def test_no_detections_give_an_empty_list() -> None:
    empty = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))
    assert describe("p", empty, NAMES, (60, 80))["predictions"] == []


def test_masks_and_corners_become_points_and_keypoints_stay() -> None:
    triangle = np.array([[10, 10], [50, 10], [30, 40]], np.float32)
    points = [{"x": 10.0, "y": 10.0}, {"x": 50.0, "y": 10.0}, {"x": 30.0, "y": 40.0}]
    (masked,) = describe("p", _one(polygons=[triangle]), NAMES, (60, 80))["predictions"]
    assert masked == {**BOX, "points": points}
    (turned,) = describe("p", _one(corners=triangle[None]), NAMES, (60, 80))["predictions"]
    assert turned == {**BOX, "points": points}
    (posed,) = describe(
        "p", _one(keypoints=np.array([[[1, 2, 0.5]]], np.float32)), NAMES, (60, 80)
    )["predictions"]
    assert posed == {**BOX, "keypoints": [{"x": 1.0, "y": 2.0, "confidence": 0.5, "class_id": 0}]}


def test_keypoints_without_a_confidence_are_certain() -> None:
    """Readers of the schema need the field."""
    keypoints = np.array([[[1, 2], [3, 4]]], np.float32)
    (posed,) = describe("p", _one(keypoints=keypoints), NAMES, (60, 80))["predictions"]
    assert posed["keypoints"] == [
        {"x": 1.0, "y": 2.0, "confidence": 1.0, "class_id": 0},
        {"x": 3.0, "y": 4.0, "confidence": 1.0, "class_id": 1},
    ]


def test_a_classification_has_a_top_class() -> None:
    output = describe(
        "p", Classification(np.array([1, 0]), np.array([0.75, 0.25], np.float32)), NAMES, (60, 80)
    )
    assert output["top"] == "dog"
    assert output["confidence"] == 0.75
    assert [entry["class"] for entry in output["predictions"]] == ["dog", "cat"]
