"""Geometry, mostly against slow and obvious versions of itself."""

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.vision.boxes import box_iou, rotated_corners, rotated_iou, xywh_to_xyxy
from sluice.vision.letterbox import CentreCrop, Letterbox
from sluice.vision.suppression import MAX_CANDIDATES, MAX_ROTATED, suppress, suppress_rotated

steady = settings(derandomize=True, deadline=None)

sides = st.integers(1, 3000)
sizes = st.tuples(sides, sides)
network_sizes = st.tuples(st.integers(1, 20), st.integers(1, 20)).map(
    lambda hw: (hw[0] * 32, hw[1] * 32)
)
seeds = st.integers(0, 2**32 - 1)


def floats(values: Any) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)


def picture(seed: int, hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*hw, 3), np.uint8)


class TestLetterbox:
    @pytest.mark.parametrize(
        ("source", "network", "resized", "top", "left"),
        [
            ((1080, 1920), (640, 640), (360, 640), 140, 0),
            ((480, 320), (320, 320), (320, 213), 0, 53),  # 107 px of padding: 53 and 54
            ((97, 333), (320, 320), (93, 320), 113, 0),
            ((320, 320), (320, 320), (320, 320), 0, 0),
            ((10, 10), (320, 640), (320, 320), 0, 160),
            ((1, 5000), (640, 640), (1, 640), 319, 0),
            ((5000, 1), (640, 640), (640, 1), 0, 319),
        ],
    )
    def test_fit(
        self,
        source: tuple[int, int],
        network: tuple[int, int],
        resized: tuple[int, int],
        top: int,
        left: int,
    ) -> None:
        assert Letterbox.fit(source, network) == Letterbox(source, network, resized, top, left)

    @steady
    @given(sizes, network_sizes)
    def test_the_image_lies_within_the_canvas_and_touches_two_sides(
        self, source: tuple[int, int], network: tuple[int, int]
    ) -> None:
        box = Letterbox.fit(source, network)
        for axis, start in enumerate((box.top, box.left)):
            before, after = start, network[axis] - start - box.resized_hw[axis]
            assert box.resized_hw[axis] >= 1
            assert before >= 0
            assert after - before in (0, 1)
        assert box.resized_hw[0] == network[0] or box.resized_hw[1] == network[1]

    @pytest.mark.parametrize("hw", [(0, 5), (5, 0), (-1, 5)])
    def test_sides_must_be_positive(self, hw: tuple[int, int]) -> None:
        with pytest.raises(ValueError, match="positive"):
            Letterbox.fit(hw, (32, 32))
        with pytest.raises(ValueError, match="positive"):
            CentreCrop.fit((32, 32), hw)

    @settings(steady, max_examples=40)
    @given(
        seeds,
        st.tuples(st.integers(1, 200), st.integers(1, 200)),
        st.sampled_from([(64, 64), (32, 96), (160, 64)]),
    )
    def test_apply_draws_the_scaled_image_and_grey_around_it(
        self, seed: int, source: tuple[int, int], network: tuple[int, int]
    ) -> None:
        image, box = picture(seed, source), Letterbox.fit(source, network)
        canvas = box.apply(image)
        expected = np.full((*network, 3), 114, np.uint8)
        scaled = cv2.resize(image, box.resized_hw[::-1], interpolation=cv2.INTER_LINEAR)
        expected[box.top : box.top + box.resized_hw[0], box.left : box.left + box.resized_hw[1]] = (
            scaled
        )
        assert canvas.dtype == np.uint8
        assert np.array_equal(canvas, expected)

    @pytest.mark.parametrize("source", [(50, 100), (100, 50), (64, 64), (1, 500), (500, 1), (3, 3)])
    def test_apply_writes_in_place_and_nowhere_else(self, source: tuple[int, int]) -> None:
        shared = np.full((3, 70, 70, 3), 7, np.uint8)
        out = shared[1, 2:66, 3:67]
        image, box = picture(0, source), Letterbox.fit(source, (64, 64))
        assert box.apply(image, out) is out
        assert np.array_equal(out, box.apply(image))
        out[:] = 7
        assert (shared == 7).all()

    def test_apply_takes_an_image_that_is_a_view(self) -> None:
        image = picture(0, (60, 80))
        box = Letterbox.fit((60, 80), (64, 64))
        assert np.array_equal(box.apply(image[:, :, ::-1]), box.apply(image[:, :, ::-1].copy()))
        turned = Letterbox.fit((80, 60), (64, 64))
        assert np.array_equal(
            turned.apply(image.swapaxes(0, 1)), turned.apply(image.swapaxes(0, 1).copy())
        )

    def test_apply_refuses_what_it_was_not_made_for(self) -> None:
        box = Letterbox.fit((60, 80), (64, 64))
        with pytest.raises(ValueError, match=r"the image must be \(60, 80, 3\) uint8"):
            box.apply(picture(0, (61, 80)))
        with pytest.raises(ValueError, match="the image must be"):
            box.apply(np.zeros((60, 80, 3), np.float32))
        with pytest.raises(ValueError, match=r"the canvas must be \(64, 64, 3\) uint8"):
            box.apply(picture(0, (60, 80)), np.zeros((64, 65, 3), np.uint8))
        with pytest.raises(ValueError, match="contiguous"):
            box.apply(picture(0, (60, 80)), np.zeros((3, 64, 64), np.uint8).transpose(1, 2, 0))

    @steady
    @given(sizes, network_sizes, st.floats(0, 1), st.floats(0, 1))
    def test_there_and_back(
        self, source: tuple[int, int], network: tuple[int, int], u: float, v: float
    ) -> None:
        x, y = u * source[1], v * source[0]
        box = Letterbox.fit(source, network)
        there = floats(
            [
                [
                    box.left + x * box.resized_hw[1] / source[1],
                    box.top + y * box.resized_hw[0] / source[0],
                ]
            ]
        )
        back = box.to_source(there)[0]
        # float32 holds a network pixel to some 4e-5 px: what that is in the source depends on the scale
        assert back == pytest.approx((x, y), abs=1e-3 / min(1, *box.scale_xy))

    @steady
    @given(
        sizes, network_sizes, st.lists(st.tuples(*[st.floats(-1e4, 1e4, width=32)] * 4), max_size=5)
    )
    def test_boxes_are_clipped_to_the_source(
        self, source: tuple[int, int], network: tuple[int, int], boxes: list[tuple[float, ...]]
    ) -> None:
        box = Letterbox.fit(source, network)
        given_boxes = floats(boxes).reshape(-1, 4)
        clipped, free = box.to_source(given_boxes), box.to_source(given_boxes, clip=False)
        assert clipped.dtype == free.dtype == np.float32
        assert clipped.shape == free.shape == given_boxes.shape
        for row, (raw, mine) in enumerate(zip(free.tolist(), clipped.tolist(), strict=True)):
            for i in range(4):
                limit, start = (source[1], box.left) if i % 2 == 0 else (source[0], box.top)
                scale = box.scale_xy[i % 2]
                assert raw[i] == pytest.approx(
                    (float(given_boxes[row, i]) - start) / scale, rel=1e-4, abs=1e-2 / scale
                )
                assert mine[i] == min(max(raw[i], 0), limit)

    def test_to_source_keeps_the_shape_and_the_input(self) -> None:
        box = Letterbox.fit((100, 200), (64, 64))
        for shape in [(0, 4), (0, 2), (3, 2), (2, 5, 2), (3, 4)]:
            points = np.full(shape, 32, np.float32)
            result = box.to_source(points)
            assert result.shape == shape
            assert (points == 32).all()
        assert box.to_source(floats([[32, 32]])).tolist() == [[100, 50]]


class TestCentreCrop:
    @pytest.mark.parametrize(
        ("source", "network", "resized", "top", "left"),
        [
            ((1080, 1920), (224, 224), (224, 398), 0, 87),
            ((97, 333), (128, 128), (128, 439), 0, 156),
            ((500, 100), (100, 100), (500, 100), 200, 0),
            ((10, 10), (64, 32), (64, 64), 0, 16),
        ],
    )
    def test_fit(
        self,
        source: tuple[int, int],
        network: tuple[int, int],
        resized: tuple[int, int],
        top: int,
        left: int,
    ) -> None:
        assert CentreCrop.fit(source, network) == CentreCrop(source, network, resized, top, left)

    @steady
    @given(sizes, network_sizes)
    def test_the_crop_lies_within_the_image(
        self, source: tuple[int, int], network: tuple[int, int]
    ) -> None:
        crop = CentreCrop.fit(source, network)
        assert 0 <= crop.top <= crop.resized_hw[0] - network[0]
        assert 0 <= crop.left <= crop.resized_hw[1] - network[1]

    @settings(steady, max_examples=30)
    @given(
        seeds,
        st.tuples(st.integers(1, 60), st.integers(1, 60)),
        st.sampled_from([(16, 16), (8, 24)]),
    )
    def test_apply_is_a_triangle_filter(
        self, seed: int, source: tuple[int, int], network: tuple[int, int]
    ) -> None:
        image, crop = picture(seed, source), CentreCrop.fit(source, network)
        canvas = crop.apply(image)
        y, x = np.random.default_rng(seed).integers(0, network)
        weights = [
            triangle(source[0], crop.resized_hw[0], crop.top + int(y)),
            triangle(source[1], crop.resized_hw[1], crop.left + int(x)),
        ]
        for channel in range(3):
            slow = sum(
                a * b * int(image[i, j, channel])
                for i, a in enumerate(weights[0])
                for j, b in enumerate(weights[1])
            )
            assert canvas[y, x, channel] == pytest.approx(slow, abs=0.51)

    def test_an_image_of_the_networks_size_stays_as_it_is(self) -> None:
        image = picture(0, (32, 32))
        assert np.array_equal(CentreCrop.fit((32, 32), (32, 32)).apply(image), image)

    def test_a_thread_of_an_image_is_drawn_without_scaling_all_of_it(self) -> None:
        image = np.full((1, 100_000, 3), 9, np.uint8)
        out = np.zeros((224, 224, 3), np.uint8)
        assert CentreCrop.fit((1, 100_000), (224, 224)).apply(image, out) is out
        assert (out == 9).all()

    def test_apply_refuses_what_it_was_not_made_for(self) -> None:
        with pytest.raises(ValueError, match="the image must be"):
            CentreCrop.fit((60, 80), (64, 64)).apply(picture(0, (61, 80)))


def triangle(length: int, size: int, position: int) -> list[float]:
    """How much each of `length` pixels counts in one of `size`."""
    scale = length / size
    reach = max(scale, 1)
    centre = (position + 0.5) * scale
    weights = [max(0.0, 1 - abs(i + 0.5 - centre) / reach) for i in range(length)]
    return [weight / sum(weights) for weight in weights]


def slow_iou(a: Any, b: Any) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


def slow_suppress(
    overlap: Any, scores: Any, class_ids: Any, iou: float, limit: int, agnostic: bool
) -> list[int]:
    """The textbook's: take the best that is left, drop what overlaps it."""
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
    """Keep what no better box overlaps, kept or not."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    kept = [
        i
        for rank, i in enumerate(order)
        if not any(
            overlap[j][i] > iou and (agnostic or class_ids[j] == class_ids[i]) for j in order[:rank]
        )
    ]
    return kept[:limit]


def crowd(seed: int, count: int) -> npt.NDArray[np.float32]:
    """Boxes with whole corners, so that overlaps are exact, and some without area."""
    random = np.random.default_rng(seed)
    corner = random.integers(-10, 40, (count, 2))
    return np.concatenate((corner, corner + random.integers(0, 30, (count, 2))), axis=1).astype(
        np.float32
    )


def ranks(
    seed: int, count: int, classes: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Scores, many of them equal, and class ids."""
    random = np.random.default_rng(seed + 1)
    return floats(random.integers(1, 20, count) / 20), random.integers(0, classes, count)


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
        # near 1 the root in it makes much of little
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
    """From the paper: covariances, Bhattacharyya distance and coefficient, Hellinger distance."""

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
    def test_equals_the_textbook(
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
    def test_rotated_equals_the_textbook(
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
    def test_what_stays_does_not_overlap_and_what_goes_has_a_reason(
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

    def test_an_overlap_of_just_the_threshold_stays(self) -> None:
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
    def test_only_so_many_candidates_are_looked_at(
        self, function: Any, limit: int, width: int
    ) -> None:
        boxes = np.tile(floats([0, 0, 9, 9, 0][:width]), (limit + 1, 1))
        boxes[[-2, -1], :4] = [
            [100, 100, 109, 109],
            [200, 200, 209, 209],
        ]  # far from the others, and the least of them
        scores = np.linspace(1, 0.5, limit + 1, dtype=np.float32)
        class_ids = np.zeros(limit + 1, np.int64)
        assert function(boxes, scores, class_ids, iou=0.9, max_detections=9).tolist() == [
            0,
            limit - 1,
        ]
