from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.errors import UnsupportedModel
from sluice.models import Layout, Model, Task
from sluice.vision import heads
from sluice.vision.heads import DecodeParameters, Detections
from sluice.vision.heads.segment import draw_mask, outline
from sluice.vision.letterbox import Letterbox
from tests.unit.vision.heads.conftest import LAYOUTS

MakeModel = Callable[..., Model]
SQUARE = Letterbox.fit((64, 64), (64, 64))
steady = settings(derandomize=True, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def fill(polygon: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    canvas = np.zeros(hw, np.uint8)
    if len(polygon):
        cv2.fillPoly(canvas, [np.rint(polygon).astype(np.int32)], 1)
    return canvas


def output_of(layout: Layout) -> np.ndarray:
    """A box from 8, 8 to 24, 40 of class 1 with coefficients 1 and -1, and an empty row."""
    first = {
        Layout.ANCHORS: [16.0, 24.0, 16.0, 32.0, 0.5, 0.0, 1.0, 0.0],
        Layout.ANCHOR_FREE: [16.0, 24.0, 16.0, 32.0, 0.0, 0.5, 0.0],
        Layout.END_TO_END: [8.0, 8.0, 24.0, 40.0, 0.5, 1.0],
        Layout.CANDIDATES: [16.0, 24.0, 16.0, 32.0, 0.5, 1.0],
    }[layout]
    table = np.zeros((2, len(first) + 2), np.float32)
    table[1] = [*first, 1, -1]
    return table.T if layout is Layout.ANCHOR_FREE else table


def prototypes_of(plus: float, minus: float) -> np.ndarray:
    return np.stack((np.full((16, 16), plus), np.full((16, 16), minus))).astype(np.float32)


def decode(
    model: Model, output: np.ndarray, prototypes: np.ndarray, view: Letterbox = SQUARE
) -> Detections:
    detections = heads.decode(
        model, {"output0": output, "output1": prototypes}, DecodeParameters(), view
    )
    assert isinstance(detections, Detections)
    assert detections.polygons is not None
    assert len(detections.polygons) == len(detections)
    return detections


@pytest.mark.parametrize("layout", LAYOUTS)
class TestEveryLayout:
    def test_a_mask_is_cut_to_its_box(self, make_model: MakeModel, layout: Layout) -> None:
        detections = decode(
            make_model(Task.SEGMENT, layout), output_of(layout), prototypes_of(2, 1)
        )
        assert detections.polygons is not None
        assert detections.polygons[0].dtype == np.float32
        assert sorted(detections.polygons[0].tolist()) == [[8, 8], [8, 39], [23, 8], [23, 39]]
        assert detections.class_ids.tolist() == [1]

    def test_a_detection_with_an_empty_mask_is_left_out(
        self, make_model: MakeModel, layout: Layout
    ) -> None:
        detections = decode(
            make_model(Task.SEGMENT, layout), output_of(layout), prototypes_of(1, 1)
        )
        assert len(detections) == 0
        assert detections.polygons == []

    def test_polygons_are_mapped_to_the_source_and_clipped(
        self, make_model: MakeModel, layout: Layout
    ) -> None:
        view = Letterbox.fit((100, 200), (64, 64))
        detections = decode(
            make_model(Task.SEGMENT, layout), output_of(layout), prototypes_of(2, 1), view
        )
        assert detections.polygons is not None
        assert sorted(detections.polygons[0].tolist()) == [
            [25, 0],
            [25, 71.875],
            [71.875, 0],
            [71.875, 71.875],
        ]

    def test_an_output_without_detections_gives_an_empty_list(
        self, make_model: MakeModel, layout: Layout
    ) -> None:
        output = np.zeros_like(output_of(layout))
        assert decode(make_model(Task.SEGMENT, layout), output, prototypes_of(2, 1)).polygons == []


def test_broken_prototypes_give_no_mask(make_model: MakeModel) -> None:
    prototypes = prototypes_of(np.inf, np.inf)
    detections = decode(make_model(Task.SEGMENT), output_of(Layout.ANCHOR_FREE), prototypes)
    assert len(detections) == 0


def test_a_missing_output_is_explained(make_model: MakeModel) -> None:
    output = {"output0": output_of(Layout.ANCHOR_FREE)}
    with pytest.raises(UnsupportedModel, match="segment, needs an output of 3 dimensions"):
        heads.decode(make_model(Task.SEGMENT), output, DecodeParameters(), SQUARE)


@pytest.mark.parametrize("shape", [(2, 15, 16), (2, 16, 65), (2, 0, 16)])
def test_prototypes_that_do_not_cover_the_canvas_are_explained(
    make_model: MakeModel, shape: tuple[int, ...]
) -> None:
    with pytest.raises(
        UnsupportedModel, match=r"prototypes should be \(p, h, w\) with 64 a multiple of h"
    ):
        decode(make_model(Task.SEGMENT), output_of(Layout.ANCHOR_FREE), np.zeros(shape, np.float32))


def test_another_number_of_coefficients_is_explained(make_model: MakeModel) -> None:
    with pytest.raises(UnsupportedModel, match=r"should be \(10, anchors\), but it is \(9, 2\)"):
        decode(
            make_model(Task.SEGMENT),
            output_of(Layout.ANCHOR_FREE),
            np.zeros((3, 16, 16), np.float32),
        )


class TestDrawMask:
    @steady
    @given(seeds)
    def test_draw_mask_equals_scaling_the_whole_mask_and_cutting_out_the_box(
        self, seed: int
    ) -> None:
        random = np.random.default_rng(seed)
        corner = random.uniform(-20, 90, 2)
        box = np.concatenate((corner, corner + random.uniform(-5, 60, 2))).astype(np.float32)
        prototypes = random.normal(size=(4, 16, 24)).astype(np.float32)
        coefficients = random.normal(size=4).astype(np.float32)
        mask, left, top = draw_mask(prototypes, coefficients, box, (64, 96))
        detections = np.zeros((64, 96), np.uint8)
        detections[top : top + mask.shape[0], left : left + mask.shape[1]] = mask

        logits = np.tensordot(coefficients, prototypes, 1)
        scaled = cv2.resize(logits, (96, 64), interpolation=cv2.INTER_LINEAR)
        x, y = np.arange(96)[None], np.arange(64)[:, None]
        inside = (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
        assert ((detections > 0) == ((scaled > 0) & inside))[abs(scaled) > 1e-5].all()


class TestOutline:
    @steady
    @given(seeds, st.integers(1, 4))
    def test_the_outline_contains_all_parts_of_a_mask_and_nothing_else(
        self, seed: int, count: int
    ) -> None:
        random = np.random.default_rng(seed)
        mask = np.zeros((40, 60), np.uint8)
        for x, y in random.integers(0, (50, 30), (count, 2)):
            width, height = random.integers(2, 10, 2)
            mask[y : y + height, x : x + width] = 1
        filled = fill(outline(mask), mask.shape)
        assert (filled >= mask).all()
        # a drawn bridge is a pixel wide, and holes are filled
        extra = cv2.morphologyEx(filled - mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        parts, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        solid = cv2.drawContours(np.zeros_like(mask), parts, -1, 1, cv2.FILLED)
        assert not (extra.astype(bool) & (solid == 0)).any()

    def test_a_bridge_between_parts_adds_no_area(self) -> None:
        mask = np.zeros((20, 40), np.uint8)
        mask[2:8, 2:8] = 1
        mask[10:18, 20:30] = 1
        polygon = outline(mask)
        assert polygon.dtype == np.float32
        assert cv2.contourArea(polygon) == 5 * 5 + 7 * 9

    def test_the_smallest_of_too_many_parts_are_left_out(self) -> None:
        mask = np.zeros((10, 400), np.uint8)
        mask[4, ::3] = 1
        mask[2:8, 200:206] = 1
        polygon = outline(mask)
        assert len(polygon) < 60
        assert fill(polygon, mask.shape)[2:8, 200:206].all()

    def test_an_empty_mask_has_no_outline(self) -> None:
        assert outline(np.zeros((5, 5), np.uint8)).shape == (0, 2)
        assert outline(np.zeros((0, 0), np.uint8)).shape == (0, 2)

    def test_the_outline_of_one_pixel_goes_round_its_area(self) -> None:
        mask = np.zeros((5, 5), np.uint8)
        mask[3, 2] = 1
        assert sorted(outline(mask).tolist()) == [[2, 3], [2, 4], [3, 3], [3, 4]]


@pytest.mark.parametrize("pixels", [[(3, 4)], [(3, 4), (3, 5)], [(2, 2), (3, 3)]])
def test_the_outline_of_a_thin_mask_has_an_area(pixels: list[tuple[int, int]]) -> None:
    mask = np.zeros((8, 8), np.uint8)
    for pixel in pixels:
        mask[pixel] = 1
    polygon = outline(mask)
    assert len(polygon) >= 3
    assert cv2.contourArea(polygon) >= len(pixels)
    assert fill(polygon, (10, 10))[:8, :8][mask == 1].all()
