"""Overlaps of straight and rotated boxes against slow and obvious versions."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.vision.boxes import box_iou, rotated_corners, rotated_iou, xywh_to_xyxy
from tests.unit.vision.geometry import crowd, floats, seeds, slow_iou, steady


class TestOverlaps:
    def test_xywh_to_xyxy(self) -> None:
        assert xywh_to_xyxy(floats([[10, 20, 4, 6]])).tolist() == [[8, 17, 12, 23]]
        assert xywh_to_xyxy(np.zeros((0, 4), np.float32)).shape == (0, 4)

    @steady
    @given(seeds, st.integers(0, 12), st.integers(0, 12))
    def test_box_iou(self, seed: int, n: int, m: int) -> None:
        a, b = crowd(seed, n), crowd(seed + 1, m)
        result = box_iou(a, b)
        assert result.dtype == np.float32
        assert result.shape == (n, m)
        slow = [[slow_iou(one, other) for other in b.tolist()] for one in a.tolist()]
        assert result == pytest.approx(np.array(slow).reshape(n, m), abs=1e-6)

    def test_a_box_turned_inside_out_overlaps_nothing(self) -> None:
        assert box_iou(floats([[5, 5, 0, 0]]), floats([[0, 0, 5, 5], [5, 5, 0, 0]])).tolist() == [
            [0, 0]
        ]

    @steady
    @given(
        st.floats(-50, 50), st.floats(-50, 50), st.floats(1, 50), st.floats(1, 50), st.floats(-7, 7)
    )
    def test_rotated_corners(
        self, x: float, y: float, width: float, height: float, angle: float
    ) -> None:
        corners = rotated_corners(floats([[x, y, width, height, angle]]))
        expected = [
            (
                x + dx * width / 2 * math.cos(angle) - dy * height / 2 * math.sin(angle),
                y + dx * width / 2 * math.sin(angle) + dy * height / 2 * math.cos(angle),
            )
            for dx, dy in [(1, 1), (1, -1), (-1, -1), (-1, 1)]
        ]
        assert corners.dtype == np.float32
        assert corners.shape == (1, 4, 2)
        assert corners[0] == pytest.approx(np.array(expected), abs=1e-3)

    rotated = st.tuples(
        st.floats(0, 50),
        st.floats(0, 50),
        st.floats(1, 50),
        st.floats(1, 50),
        st.floats(-math.pi, math.pi),
    )

    @steady
    @given(rotated, rotated)
    def test_rotated_iou(self, a: tuple[float, ...], b: tuple[float, ...]) -> None:
        result = rotated_iou(floats([a]), floats([b]))
        assert result.dtype == np.float32
        assert result.shape == (1, 1)
        # near 1 the square root magnifies small errors
        assert (1 - result[0, 0]) ** 2 == pytest.approx((1 - slow_prob_iou(a, b)) ** 2, abs=1e-4)
        assert result == pytest.approx(rotated_iou(floats([b]), floats([a])), abs=1e-3)

    def test_rotated_iou_of_known_boxes(self) -> None:
        a = floats([[0, 0, 10, 4, 0.3]])
        others = floats(
            [
                [0, 0, 10, 4, 0.3],
                [0, 0, 4, 10, 0.3 + math.pi / 2],
                [0, 0, 10, 4, 0.3 - math.pi],
                [900, 0, 9, 9, 0],
            ]
        )
        assert rotated_iou(a, others)[0] == pytest.approx([1, 1, 1, 0], abs=1e-3)
        assert rotated_iou(a, others[:0]).shape == (1, 0)
        assert np.isfinite(
            rotated_iou(floats([[0, 0, 0, 0, 0]]), floats([[0, 0, 0, 0, 0], [1, 1, 0, 5, 1]]))
        ).all()


def slow_prob_iou(one: Any, other: Any) -> float:
    """By the paper: covariances, Bhattacharyya distance and coefficient, Hellinger distance."""

    def covariance(box: Any) -> npt.NDArray[np.float64]:
        cosine, sine = math.cos(box[4]), math.sin(box[4])
        turn = np.array([[cosine, -sine], [sine, cosine]])
        result: npt.NDArray[np.float64] = (
            turn @ np.diag([box[2] ** 2 / 12, box[3] ** 2 / 12]) @ turn.T
        )
        return result

    first, second = covariance(one), covariance(other)
    mean = (first + second) / 2
    apart = np.array([one[0] - other[0], one[1] - other[1]])
    distance = apart @ np.linalg.inv(mean) @ apart / 8
    distance += (
        math.log(np.linalg.det(mean) / math.sqrt(np.linalg.det(first) * np.linalg.det(second))) / 2
    )
    return 1 - math.sqrt(max(0, 1 - math.exp(-distance)))
