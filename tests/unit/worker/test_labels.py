"""Labels stand in the image, beside their boxes, and cover no other label."""

from itertools import combinations

import numpy as np
import pytest

from worker import lettering
from worker.labels import Label, Subject, draw, letter_size, place, stack
from worker.palette import colour_of


def _subject(
    box: tuple[int, int, int, int], name: str = "person", class_id: int = 0, score: float = 0.87
) -> Subject:
    return Subject(box, None, name, class_id, score, colour_of(class_id))


def _crowd(count: int, width: int, height: int, seed: int) -> list[Subject]:
    random = np.random.default_rng(seed)
    subjects = []
    for _ in range(count):
        x, y = int(random.integers(0, width - 2)), int(random.integers(0, height - 2))
        right = int(random.integers(x + 1, min(width, x + max(width // 4, 4))))
        bottom = int(random.integers(y + 1, min(height, y + max(height // 4, 4))))
        peak = x if random.random() < 0.5 else None
        subjects.append(Subject((x, y, right, bottom), peak, "person", 0, 0.5, colour_of(0)))
    return subjects


def _overlap(one: Label, other: Label) -> bool:
    return (
        one.left < other.right
        and other.left < one.right
        and one.top < other.bottom
        and other.top < one.bottom
    )


@pytest.mark.parametrize(
    ("width", "height", "count"),
    [(100, 100, 5), (100, 60, 30), (640, 480, 100), (1280, 960, 1000), (8000, 500, 50), (9, 9, 3)],
)
@pytest.mark.parametrize("seed", range(3))
def test_labels_cover_neither_each_other_nor_the_edge(
    width: int, height: int, count: int, seed: int
) -> None:
    labels = place(_crowd(count, width, height, seed), width, height)
    assert bool(labels) == (width > 9)
    for label in labels:
        assert 0 <= label.left < label.right <= width
        assert 0 <= label.top < label.bottom <= height
    assert not any(_overlap(*pair) for pair in combinations(labels, 2))


def test_labels_of_a_crowd_leave_most_of_the_picture_free() -> None:
    labels = place(_crowd(1000, 1280, 960, 0), 1280, 960)
    assert sum(label.coverage.size for label in labels) < 0.26 * 1280 * 960
    assert len(labels) > 50


@pytest.mark.parametrize("side", [100, 640, 8000])
def test_a_single_label_stands_on_its_box_in_letters_for_the_size(side: int) -> None:
    box = (side // 4, side // 2, side // 2, side * 3 // 4)
    (label,) = place([_subject(box)], side, side)
    assert (label.left, label.bottom) == (box[0], box[1])
    assert label.coverage.shape[0] == lettering.line_height(letter_size(side, side))
    assert 9 <= letter_size(side, side) <= side / 10


def test_two_boxes_in_one_place_have_a_label_each() -> None:
    box = (200, 200, 400, 400)
    one, other = place([_subject(box), _subject(box, "dog")], 640, 480)
    assert not _overlap(one, other)
    assert one.bottom == 200, "the higher score has the better place"


def test_a_box_at_the_top_edge_has_its_label_inside() -> None:
    (label,) = place([_subject((0, 0, 640, 480))], 640, 480)
    assert (label.left, label.top) == (0, 0)


def test_a_peak_has_its_label_above_it() -> None:
    (label,) = place([Subject((100, 200, 500, 400), 400, "a", 0, 0.5, colour_of(0))], 640, 480)
    assert label.bottom == 200
    assert label.left < 400 < label.right


def test_a_long_name_is_cut_to_the_image() -> None:
    (label,) = place([_subject((10, 50, 90, 90), "x" * 255)], 100, 100)
    assert 80 < label.right - label.left <= 100


@pytest.mark.parametrize("name", ["", "\ue000", "\u200d"])
def test_a_name_that_nobody_can_write_becomes_the_class_id(name: str) -> None:
    (label,) = place([_subject((50, 50, 300, 300), name, 7)], 640, 480)
    (expected,) = place([_subject((50, 50, 300, 300), "class 7", 7)], 640, 480)
    np.testing.assert_array_equal(label.coverage, expected.coverage)


def test_the_classes_of_a_whole_image_are_a_list_that_fits() -> None:
    subjects = [_subject((0, 0, 100, 40), class_id=index) for index in range(9)]
    assert len(stack(subjects, 640, 480)) == 5
    low = stack(subjects, 100, 40)
    assert 0 < len(low) < 5
    assert low[-1].bottom <= 40
    assert not any(_overlap(*pair) for pair in combinations(low, 2))


@pytest.mark.parametrize("class_id", range(20))
@pytest.mark.parametrize("background", [0, 128, 255])
def test_text_stands_out_on_every_background(class_id: int, background: int) -> None:
    image = np.full((480, 640, 3), background, np.uint8)
    labels = place([_subject((50, 50, 300, 300), class_id=class_id)], 640, 480)
    draw(image, labels)
    (label,) = labels
    area = image[label.top : label.bottom, label.left : label.right].reshape(-1, 3)
    assert (area == colour_of(class_id)).all(axis=1).mean() > 0.5
    assert (area == area.max()).all(axis=1).any() or (area == 0).all(axis=1).any()
    outside = image.copy()
    outside[label.top : label.bottom, label.left : label.right] = background
    assert (outside == background).all()
