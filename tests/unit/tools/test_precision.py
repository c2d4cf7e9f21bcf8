"""Average precision on cases that can be counted by hand."""

import numpy as np
import pytest

from tools.codes.precision import IOUS, average_precision, class_precision, iou, match, suppress

BOX = np.array([[0, 0, 10, 10]], np.float32)
NONE = np.zeros(1, bool)


def test_iou_of_two_shifted_boxes() -> None:
    assert iou(BOX, np.array([[5, 0, 15, 10]], np.float32))[0, 0] == pytest.approx(50 / 150)


def test_a_perfect_detection_has_an_ap_of_1() -> None:
    assert class_precision([match(BOX, np.array([0.9]), BOX, NONE)], 1).tolist() == pytest.approx(
        [1.0] * 10
    )


def test_no_detection_has_an_ap_of_0() -> None:
    empty = (np.zeros((0, 4), np.float32), np.zeros(0))
    assert class_precision([match(*empty, BOX, NONE)], 1).tolist() == [0.0] * 10


def test_a_false_alarm_costs_only_before_the_right_detection() -> None:
    """Wrong, then right: precision 1/2 at every recall. Right, then wrong: 1 throughout."""
    assert average_precision(np.array([0.9, 0.8]), np.array([False, True]), 1) == pytest.approx(0.5)
    assert average_precision(np.array([0.9, 0.8]), np.array([True, False]), 1) == pytest.approx(1.0)


def test_half_the_objects_found_gives_half_the_recall_points() -> None:
    """Recall stops at 0.5: 51 of the 101 points (0 to 0.50) are 1, the rest 0."""
    assert average_precision(np.array([0.9]), np.array([True]), 2) == pytest.approx(51 / 101)


def test_a_second_detection_of_one_object_is_wrong() -> None:
    _, verdict = match(np.repeat(BOX, 2, 0), np.array([0.9, 0.8]), BOX, NONE)
    assert verdict[0].tolist() == [1, 0]


def test_a_detection_is_right_up_to_its_overlap() -> None:
    """A shift of 2 in 10 gives IoU 80/120 = 0.667: right up to 0.65."""
    _, verdict = match(BOX + np.array([2, 0, 2, 0], np.float32), np.array([0.9]), BOX, NONE)
    assert [bool(v) for v in verdict[:, 0]] == [t < 0.667 for t in IOUS]


def test_an_ignored_truth_does_not_count() -> None:
    _, verdict = match(BOX, np.array([0.9]), BOX, ~NONE)
    assert set(verdict.ravel()) == {-1}


def test_suppress_keeps_the_best_and_the_distant_boxes() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [30, 0, 40, 10]], np.float32)
    assert suppress(boxes, np.array([0.5, 0.9, 0.7]), 0.45).tolist() == [1, 2]
