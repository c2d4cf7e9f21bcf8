"""Letterbox and centre crop against slow and obvious versions of both."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sluice.vision.letterbox import CentreCrop, Letterbox
from tests.unit.vision.geometry import floats, seeds, steady

sides = st.integers(1, 3000)
sizes = st.tuples(sides, sides)
network_sizes = st.tuples(st.integers(1, 20), st.integers(1, 20)).map(
    lambda hw: (hw[0] * 32, hw[1] * 32)
)


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

    def test_apply_refuses_an_image_or_a_canvas_of_another_shape(self) -> None:
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
    def test_a_point_mapped_to_the_canvas_and_back_is_unchanged(
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
        # float32 is exact to about 4e-5 network pixels; the scale turns them into source pixels
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
            ((10, 10), (64, 32), (64, 32), 0, 0),
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
            assert canvas[y, x, channel] == pytest.approx(slow, abs=1.01)  # rounded twice

    @settings(steady, max_examples=30)
    @given(
        seeds,
        st.tuples(st.integers(1, 80), st.integers(1, 80)),
        st.sampled_from([(16, 16), (8, 24)]),
    )
    def test_pixels_are_those_of_the_whole_image_scaled_by_pillow(
        self, seed: int, source: tuple[int, int], network: tuple[int, int]
    ) -> None:
        image, crop = picture(seed, source), CentreCrop.fit(source, network)
        whole = Image.fromarray(image).resize(crop.resized_hw[::-1], Image.Resampling.BILINEAR)
        cut = np.asarray(whole)[crop.top :, crop.left :][: network[0], : network[1]]
        assert np.array_equal(crop.apply(image), cut)

    def test_an_image_of_the_networks_size_stays_as_it_is(self) -> None:
        image = picture(0, (32, 32))
        assert np.array_equal(CentreCrop.fit((32, 32), (32, 32)).apply(image), image)

    def test_a_thread_of_an_image_is_drawn_without_scaling_all_of_it(self) -> None:
        image = np.full((1, 100_000, 3), 9, np.uint8)
        out = np.zeros((224, 224, 3), np.uint8)
        assert CentreCrop.fit((1, 100_000), (224, 224)).apply(image, out) is out
        assert (out == 9).all()

    def test_apply_refuses_an_image_or_a_canvas_of_another_shape(self) -> None:
        with pytest.raises(ValueError, match="the image must be"):
            CentreCrop.fit((60, 80), (64, 64)).apply(picture(0, (61, 80)))


def triangle(length: int, size: int, position: int) -> list[float]:
    """The weight of each of `length` pixels in one of `size`."""
    scale = length / size
    reach = max(scale, 1)
    centre = (position + 0.5) * scale
    weights = [max(0.0, 1 - abs(i + 0.5 - centre) / reach) for i in range(length)]
    return [weight / sum(weights) for weight in weights]
