"""The drawing of each task, in each format and size."""

from typing import Any

import cv2
import numpy as np
import pytest

from sluice.models import Task
from sluice.prediction import OutputFormat
from worker.annotate import Pixels, annotate
from worker.palette import colour_of

GREY = 128


def _entry(x1: float, y1: float, x2: float, y2: float, **more: Any) -> dict[str, Any]:
    box = {"x": (x1 + x2) / 2, "y": (y1 + y2) / 2, "width": x2 - x1, "height": y2 - y1}
    return {**box, "confidence": 0.8, "class": "dog", "class_id": 1, **more}


def _points(*points: tuple[float, float]) -> list[dict[str, float]]:
    return [{"x": x, "y": y} for x, y in points]


def _grey(width: int, height: int) -> Pixels:
    return np.full((height, width, 3), GREY, np.uint8)


def _draw(image: Pixels, task: Task, *entries: dict[str, Any]) -> Pixels:
    """The drawing's pixels. PNG loses nothing."""
    return _decode(annotate(image, {"predictions": list(entries)}, task, "png"))


def _decode(data: bytes) -> Pixels:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)


def _changed(drawn: Pixels) -> np.ndarray:
    return (drawn != GREY).any(axis=2)


def test_a_box_has_lines_of_its_class_and_is_empty() -> None:
    drawn = _draw(_grey(640, 480), Task.DETECT, _entry(100, 100, 300, 300))
    for x, y in ((100, 200), (300, 200), (200, 100), (200, 300)):
        assert tuple(drawn[y, x].tolist()) == colour_of(1)
    assert not _changed(drawn)[110:290, 110:290].any()
    assert not _changed(drawn)[310:].any()


def test_every_pixel_of_a_mask_is_tinted_and_no_other() -> None:
    corners = ((100, 120), (300, 150), (250, 350), (120, 300))
    mask = np.zeros((480, 640), np.uint8)
    cv2.fillPoly(mask, [np.array(corners)], 1)
    drawn = _draw(
        _grey(640, 480), Task.SEGMENT, _entry(100, 120, 300, 350, points=_points(*corners))
    )
    near = cv2.dilate(mask, np.ones((5, 5)))
    far = cv2.erode(mask, np.ones((7, 7)))
    below = np.s_[150:]  # of the label
    assert _changed(drawn)[below][mask[below] > 0].all()
    assert not _changed(drawn)[below][near[below] == 0].any()
    expected = np.rint(0.55 * GREY + 0.45 * np.array(colour_of(1)))
    assert np.abs(drawn[below][far[below] > 0].astype(float) - expected).max() <= 1


def test_the_picture_shows_through_a_mask() -> None:
    image = _grey(200, 200)
    image[:, ::2] = 255
    box = ((10, 60), (190, 60), (190, 190), (10, 190))
    drawn = _draw(image, Task.SEGMENT, _entry(10, 60, 190, 190, points=_points(*box)))
    assert (drawn[100, 20:180:2, 2] > drawn[100, 21:180:2, 2]).all()


def test_bridges_between_the_parts_of_a_mask_are_not_drawn() -> None:
    parts = _points(
        (50, 100), (100, 100), (100, 150),
        (400, 150), (450, 150), (450, 200), (400, 200), (400, 150),
        (100, 150), (50, 150),
    )  # fmt: skip
    drawn = _draw(_grey(640, 480), Task.SEGMENT, _entry(50, 100, 450, 200, points=parts))
    assert not _changed(drawn)[130:, 110:390].any()
    assert _changed(drawn)[125, 75]
    assert _changed(drawn)[175, 425]


def test_a_mask_of_several_strips_has_no_seam() -> None:
    """An image above 4 megapixels is tinted in strips."""
    corners = _points((100, 100), (2900, 100), (2900, 2900), (100, 2900))
    drawn = _draw(_grey(3000, 3000), Task.SEGMENT, _entry(100, 100, 2900, 2900, points=corners))
    assert (drawn[300:2800, 300:2800] == drawn[300, 300]).all()
    assert _changed(drawn)[300, 300]


def test_a_rotated_box_is_its_outline_alone() -> None:
    corners = _points((320, 100), (450, 240), (320, 380), (190, 240))
    drawn = _draw(_grey(640, 480), Task.OBB, _entry(190, 100, 450, 380, points=corners))
    assert tuple(drawn[240, 450].tolist()) == colour_of(1)
    assert not _changed(drawn)[230:250, 250:400].any()
    assert not _changed(drawn)[370:, :300].any(), "no upright box"


def _person(hidden: int | None = None) -> list[dict[str, float]]:
    return [
        {"x": 100 + 30 * (i % 2), "y": 110 + 20 * i, "confidence": 0.1 if i == hidden else 0.9}
        for i in range(17)
    ]


def test_the_keypoints_of_a_person_are_joined() -> None:
    entry = _entry(80, 80, 160, 460, keypoints=_person())
    drawn = _draw(_grey(640, 480), Task.POSE, entry)
    assert _changed(drawn)[110 + 20 * 14, 100], "the knee"
    assert _changed(drawn)[110 + 20 * 13, 100], "between hip and knee"


def test_keypoints_of_a_low_confidence_are_left_out_with_their_limbs() -> None:
    entry = _entry(80, 80, 160, 460, keypoints=_person(hidden=14))
    drawn = _draw(_grey(640, 480), Task.POSE, entry)
    assert not _changed(drawn)[110 + 20 * 13 : 110 + 20 * 15, 95:105].any()


def test_other_keypoints_are_points_alone() -> None:
    points = [{"x": x, "y": 200.0, "confidence": 0.9} for x in (150.0, 250.0)]
    drawn = _draw(_grey(640, 480), Task.POSE, _entry(100, 100, 300, 300, keypoints=points))
    assert tuple(drawn[200, 150].tolist()) == colour_of(0)
    assert tuple(drawn[200, 250].tolist()) == colour_of(1)
    assert not _changed(drawn)[150:250, 160:240].any()


def test_the_highest_score_lies_on_top() -> None:
    first = _entry(100, 100, 300, 300, class_id=0)
    second = _entry(100, 100, 300, 300, class_id=1)
    drawn = _draw(_grey(640, 480), Task.DETECT, first, second)
    assert tuple(drawn[200, 100].tolist()) == colour_of(0)


def test_classes_of_the_whole_image_are_listed_at_the_top_left() -> None:
    entries = [{"class": f"c{i}", "class_id": i, "confidence": 0.5} for i in range(5)]
    drawn = _draw(_grey(100, 100), Task.CLASSIFY, *entries)
    seen = {tuple(colour) for colour in drawn[:, 1].tolist()}
    assert {colour_of(i) for i in range(5)} < seen


@pytest.mark.parametrize(
    ("output_format", "start"),
    [("jpg", b"\xff\xd8\xff"), ("png", b"\x89PNG\r\n\x1a\n"), ("webp", b"RIFF")],
)
def test_every_format_keeps_size_and_colours(output_format: OutputFormat, start: bytes) -> None:
    red = np.zeros((60, 80, 3), np.uint8)
    red[:, :, 0] = 255
    data = annotate(red, {"predictions": []}, Task.DETECT, output_format)
    assert data.startswith(start)
    drawn = _decode(data)
    assert drawn.shape == (60, 80, 3)
    assert np.abs(drawn.astype(int) - (254, 0, 0)).max() < 5


@pytest.mark.parametrize("side", [1, 2, 10, 100, 640, 8000])
@pytest.mark.parametrize("task", Task)
def test_every_size_is_drawn(side: int, task: Task) -> None:
    quarter, half = side / 4, side / 2
    corners = _points((quarter, quarter), (half, quarter), (half, half))
    keypoints = [{"x": quarter, "y": half, "confidence": 0.9}]
    points = {"points": corners} if task in (Task.SEGMENT, Task.OBB) else {}
    entry = _entry(quarter, quarter, half, half, keypoints=keypoints, **points)
    height = max(1, side // 8)
    drawn = _decode(annotate(_grey(side, height), {"predictions": [entry]}, task))
    assert drawn.shape == (height, side, 3)


@pytest.mark.parametrize(
    ("output_format", "source", "expected"),
    [
        ("jpg", (65_500, 4), (65_500, 4)),
        ("jpg", (65_501, 4), (65_500, 4)),
        ("jpg", (1, 131_000), (1, 65_500)),
        ("png", (65_501, 40), (65_500, 40)),
        ("webp", (32_766, 40), (16_383, 20)),
        ("webp", (4_100, 4_100), (4_000, 4_000)),
    ],
)
def test_an_image_beyond_its_format_is_drawn_smaller(
    output_format: OutputFormat, source: tuple[int, int], expected: tuple[int, int]
) -> None:
    width, height = source
    entry = _entry(width * 0.9, 0, width, height)
    data = annotate(_grey(width, height), {"predictions": [entry]}, Task.DETECT, output_format)
    drawn = _decode(data)
    assert drawn.shape[1::-1] == expected
    changed = np.abs(drawn.astype(int) - GREY).max(axis=2) > 40
    assert changed[:, -1].any(), "the right edge of the box moved with the image"
    assert not changed[:, : int(expected[0] * 0.85)].any()


def test_detections_far_outside_the_image_do_no_harm() -> None:
    far = [(-1e12, -1e12), (1e12, 5.0), (10.0, 1e12)]
    keypoints = [{"x": 1e12, "y": -1e12, "confidence": 1.0}] * 17
    entry = _entry(-1e12, -1e12, 1e12, 1e12, points=_points(*far), keypoints=keypoints)
    assert _draw(_grey(64, 48), Task.SEGMENT, entry).shape == (48, 64, 3)


def test_the_same_output_gives_the_same_bytes() -> None:
    entries = [_entry(10, 10, 50, 40, **{"class": "แมว"}), _entry(20, 20, 60, 55)]
    one, other = (annotate(_grey(80, 60), {"predictions": entries}, Task.DETECT) for _ in range(2))
    assert one == other
