"""Suppression against slow textbook versions."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.vision.boxes import box_iou, rotated_iou
from sluice.vision.suppression import MAX_CANDIDATES, MAX_ROTATED, suppress, suppress_rotated
from tests.unit.vision.geometry import crowd, floats, seeds, slow_iou, steady


def slow_suppress(
    overlap: Any, scores: Any, class_ids: Any, iou: float, limit: int, agnostic: bool
) -> list[int]:
    """Take the best box that is left, drop the boxes that overlap it, repeat."""
    left = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    kept: list[int] = []
    while left and len(kept) < limit:
        best = left.pop(0)
        kept.append(best)
        left = [
            i
            for i in left
            if overlap[best][i] <= iou or not (agnostic or class_ids[best] == class_ids[i])
        ]
    return kept


def slow_fast_nms(
    overlap: Any, scores: Any, class_ids: Any, iou: float, limit: int, agnostic: bool
) -> list[int]:
    """Keep each box that no better box overlaps, kept or not."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    kept = [
        i
        for rank, i in enumerate(order)
        if not any(
            overlap[j][i] > iou and (agnostic or class_ids[j] == class_ids[i]) for j in order[:rank]
        )
    ]
    return kept[:limit]


def ranks(
    seed: int, count: int, classes: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Scores, many of them equal, and class ids."""
    random = np.random.default_rng(seed + 1)
    return floats(random.integers(1, 20, count) / 20), random.integers(0, classes, count)


class TestSuppress:
    @settings(steady, max_examples=50)
    @given(
        seeds,
        st.integers(0, 300),
        st.integers(1, 5),
        st.sampled_from([0, 0.3, 0.45, 0.5, 0.7, 1]),
        st.integers(1, 300),
        st.booleans(),
    )
    def test_suppression_equals_the_textbook_algorithm(
        self, seed: int, count: int, classes: int, iou: float, limit: int, agnostic: bool
    ) -> None:
        boxes, (scores, class_ids) = crowd(seed, count), ranks(seed, count, classes)
        kept = suppress(
            boxes, scores, class_ids, iou=iou, max_detections=limit, class_agnostic=agnostic
        )
        table = [[slow_iou(a, b) for b in boxes.tolist()] for a in boxes.tolist()]
        assert kept.dtype == np.int64
        assert kept.tolist() == slow_suppress(
            table, scores.tolist(), class_ids.tolist(), iou, limit, agnostic
        )

    @settings(steady, max_examples=40)
    @given(
        seeds,
        st.integers(0, 300),
        st.integers(1, 3),
        st.sampled_from([0.2, 0.45]),
        st.integers(1, 60),
        st.booleans(),
    )
    def test_rotated_suppression_equals_the_textbook_algorithm(
        self, seed: int, count: int, classes: int, iou: float, limit: int, agnostic: bool
    ) -> None:
        random = np.random.default_rng(seed)
        boxes = random.uniform((0, 0, 2, 2, -3), (60, 60, 30, 30, 3), (count, 5)).astype(np.float32)
        scores, class_ids = ranks(seed, count, classes)
        kept = suppress_rotated(
            boxes, scores, class_ids, iou=iou, max_detections=limit, class_agnostic=agnostic
        )
        table = rotated_iou(boxes, boxes).tolist()
        assert kept.tolist() == slow_fast_nms(
            table, scores.tolist(), class_ids.tolist(), iou, limit, agnostic
        )

    @settings(steady, max_examples=40)
    @given(seeds, st.integers(0, 300), st.integers(1, 4))
    def test_kept_boxes_do_not_overlap_and_each_dropped_box_overlaps_a_better_one(
        self, seed: int, count: int, classes: int
    ) -> None:
        boxes, (scores, class_ids) = crowd(seed, count), ranks(seed, count, classes)
        kept = suppress(boxes, scores, class_ids, iou=0.5, max_detections=count + 1)
        clash = (box_iou(boxes, boxes) > 0.5) & (class_ids[:, None] == class_ids[None])
        np.fill_diagonal(clash, False)
        assert not clash[np.ix_(kept, kept)].any()
        assert (np.diff(scores[kept]) <= 0).all()
        gone = np.setdiff1d(np.arange(count), kept)
        assert all((clash[i, kept] & (scores[kept] >= scores[i])).any() for i in gone)

    def test_boxes_that_overlap_by_exactly_the_threshold_are_kept(self) -> None:
        boxes = floats([[0, 0, 2, 1], [1, 0, 2, 1]])  # IoU 1/2
        scores, class_ids = floats([0.5, 0.9]), np.array([0, 0])
        assert suppress(boxes, scores, class_ids, iou=0.5, max_detections=9).tolist() == [1, 0]
        assert suppress(boxes, scores, class_ids, iou=0.49, max_detections=9).tolist() == [1]

    def test_a_dropped_box_drops_others_only_where_rotated(self) -> None:
        straight = floats([[0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]])
        rotated = floats([[5, 5, 10, 10, 0], [8, 5, 10, 10, 0], [11, 5, 10, 10, 0]])
        scores, class_ids = floats([0.9, 0.8, 0.7]), np.zeros(3, np.int64)
        assert suppress(straight, scores, class_ids, iou=0.5, max_detections=9).tolist() == [0, 2]
        assert suppress_rotated(rotated, scores, class_ids, iou=0.5, max_detections=9).tolist() == [
            0
        ]

    @pytest.mark.parametrize(
        ("function", "limit", "width"),
        [(suppress, MAX_CANDIDATES, 4), (suppress_rotated, MAX_ROTATED, 5)],
    )
    def test_the_number_of_candidates_is_bounded(
        self, function: Any, limit: int, width: int
    ) -> None:
        boxes = np.tile(floats([0, 0, 9, 9, 0][:width]), (limit + 1, 1))
        boxes[[-2, -1], :4] = [
            [100, 100, 109, 109],
            [200, 200, 209, 209],
        ]  # far from the others, with the lowest scores
        scores = np.linspace(1, 0.5, limit + 1, dtype=np.float32)
        class_ids = np.zeros(limit + 1, np.int64)
        assert function(boxes, scores, class_ids, iou=0.9, max_detections=9).tolist() == [
            0,
            limit - 1,
        ]
