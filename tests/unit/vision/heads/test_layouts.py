"""Layouts that are rewritten as others. Every right answer is worked out by hand."""

from collections.abc import Callable
from dataclasses import replace
from math import exp, log

import numpy as np
import pytest

from sluice.errors import UnsupportedModel
from sluice.models import Layout, Model, Placement, Task, Tensor
from sluice.vision import heads
from sluice.vision.heads import DecodeParameters, Detections
from sluice.vision.letterbox import Letterbox

MakeModel = Callable[..., Model]
SQUARE = Letterbox.fit((64, 64), (64, 64))


def decode(
    model: Model, outputs: dict[str, np.ndarray], view: Letterbox = SQUARE, **parameters: float
) -> Detections:
    detections = heads.decode(model, outputs, DecodeParameters(**parameters), view)
    assert isinstance(detections, Detections)
    return detections


class TestQueries:
    def test_boxes_are_fractions_of_the_canvas(self, make_model: MakeModel) -> None:
        model = replace(make_model(Task.DETECT, Layout.QUERIES), imgsz=(64, 128))
        table = np.array([[0.5, 0.5, 0.25, 0.5, 0.1, 0.9, 0.2]], np.float32)
        view = Letterbox.fit((100, 100), (64, 128), Placement.STRETCH)
        detections = decode(model, {"output0": table}, view)
        assert detections.boxes[0] == pytest.approx([37.5, 25, 62.5, 75])
        assert detections.scores == pytest.approx([0.9])
        assert detections.class_ids.tolist() == [1]

    def test_rows_may_name_their_class(self, make_model: MakeModel) -> None:
        """One query may be several rows, one for each class."""
        model = make_model(Task.DETECT, Layout.RANKED_QUERIES)
        box = [0.25, 0.5, 0.25, 0.125]
        table = np.array([[*box, 0.9, 2], [*box, 0.8, 0]], np.float32)
        detections = decode(model, {"output0": table})
        assert detections.boxes.tolist() == [[8, 28, 24, 36]] * 2
        assert detections.class_ids.tolist() == [2, 0]

    def test_nothing_is_suppressed(self, make_model: MakeModel) -> None:
        model = make_model(Task.DETECT, Layout.QUERIES)
        table = np.array([[0.5, 0.5, 0.5, 0.5, 0.6, 0, 0]] * 2, np.float32)
        assert len(decode(model, {"output0": table})) == 2

    def test_another_width_is_explained(self, make_model: MakeModel) -> None:
        model = make_model(Task.DETECT, Layout.QUERIES)
        with pytest.raises(UnsupportedModel, match=r"should be \(rows, 7\), but it is \(5, 6\)"):
            decode(model, {"output0": np.zeros((5, 6), np.float32)})


class TestRankedQueries:
    def test_fractions_become_pixels_and_a_query_may_have_two_classes(
        self, make_model: MakeModel
    ) -> None:
        model = replace(make_model(Task.DETECT, Layout.RANKED_QUERIES), imgsz=(64, 128))
        table = np.array([[0.5, 0.5, 0.25, 0.5, 0.9, 1], [0.5, 0.5, 0.25, 0.5, 0.6, 2]], np.float32)
        view = Letterbox.fit((100, 100), (64, 128), Placement.STRETCH)
        detections = decode(model, {"output0": table}, view)
        assert detections.boxes.tolist() == [[37.5, 25, 62.5, 75]] * 2
        assert detections.scores == pytest.approx([0.9, 0.6])
        assert detections.class_ids.tolist() == [1, 2]


class TestRows:
    def test_the_class_comes_before_the_score(self, make_model: MakeModel) -> None:
        model = make_model(Task.DETECT, Layout.ROWS)
        table = np.array([[0, 8, 16, 24, 48, 2, 0.75], [1, 0, 0, 9, 9, 1, 0.9]], np.float32)
        detections = decode(model, {"output0": table})
        assert detections.boxes.tolist() == [[8, 16, 24, 48]]
        assert detections.scores.tolist() == [0.75]
        assert detections.class_ids.tolist() == [2]

    def test_no_row_is_no_detection(self, make_model: MakeModel) -> None:
        model = make_model(Task.DETECT, Layout.ROWS)
        assert len(decode(model, {"output0": np.zeros((0, 7), np.float32)})) == 0


class TestGrid:
    def test_offsets_and_logarithms_become_pixels(self, make_model: MakeModel) -> None:
        """A canvas of 64 px has 64 cells of 8 px, 16 of 16 px, and 4 of 32 px."""
        model = make_model(Task.DETECT, Layout.GRID)
        table = np.zeros((84, 8), np.float32)
        # Row 1, column 2 of the stride 8; row 1, column 3 of 16; row 1, column 0 of 32.
        for row, class_id in ((8 + 2, 0), (64 + 4 + 3, 1), (64 + 16 + 2, 2)):
            table[row, :5] = [0.5, 0.25, log(2), log(1.5), 0.8]
            table[row, 5 + class_id] = 0.5 + class_id / 10
        detections = decode(model, {"output0": table}, iou=1.0)
        centres = (detections.boxes[:, :2] + detections.boxes[:, 2:]) / 2
        assert detections.class_ids.tolist() == [2, 1, 0]
        assert detections.scores == pytest.approx([0.56, 0.48, 0.4])
        assert centres[1] == pytest.approx([3.5 * 16 - 4, 1.25 * 16], abs=1e-4)  # cut at 64 px
        assert centres[2] == pytest.approx([2.5 * 8, 1.25 * 8], abs=1e-4)
        assert detections.boxes[2] == pytest.approx([12, 4, 28, 16], abs=1e-4)

    def test_another_number_of_rows_is_explained(self, make_model: MakeModel) -> None:
        model = make_model(Task.DETECT, Layout.GRID)
        with pytest.raises(UnsupportedModel, match=r"has 10 rows, but a grid of 64 x 64 .* 84"):
            decode(model, {"output0": np.zeros((10, 8), np.float32)})


class TestMaps:
    ANCHORS = (((8.0, 4.0), (4.0, 8.0)), ((16.0, 16.0), (32.0, 32.0)))

    def model(self, make_model: MakeModel) -> Model:
        maps = tuple(Tensor(f"map{level}", "FP32", (2, -1, -1, 8)) for level in range(2))
        return replace(make_model(Task.DETECT, Layout.MAPS), anchors=self.ANCHORS, outputs=maps)

    def test_logits_become_pixels(self, make_model: MakeModel) -> None:
        """The logit 0 is 0.5: the centre of a cell, and the anchor's own size."""
        maps = [np.full((2, side, side, 8), -20, np.float32) for side in (8, 4)]
        maps[0][1, 2, 5] = [0, 0, 0, 0, 20, -20, 20, -20]
        quarter = log(0.25 / 0.75)
        maps[1][0, 1, 1] = [quarter, 0, quarter, 0, log(3), -20, -20, 20]
        detections = decode(self.model(make_model), {"map0": maps[0], "map1": maps[1]})
        assert detections.class_ids.tolist() == [1, 2]
        assert detections.scores == pytest.approx([1, 0.75], abs=1e-6)
        centre = (5.5 * 8, 2.5 * 8)
        assert detections.boxes[0] == pytest.approx(
            [centre[0] - 2, centre[1] - 4, centre[0] + 2, centre[1] + 4], abs=1e-4
        )
        # A sigmoid of 0.25 moves the centre by half a cell, and quarters the width.
        assert detections.boxes[1] == pytest.approx([16 - 2, 24 - 8, 16 + 2, 24 + 8], abs=1e-4)

    def test_maps_without_anchors_are_explained(self, make_model: MakeModel) -> None:
        model = replace(self.model(make_model), anchors=())
        with pytest.raises(UnsupportedModel, match="correct its anchors"):
            decode(model, {"map0": np.zeros((2, 8, 8, 8), np.float32)})


class TestCandidates:
    def test_overlaps_are_suppressed(self, make_model: MakeModel) -> None:
        model = make_model(Task.DETECT, Layout.CANDIDATES)
        table = np.array([[32, 32, 16, 16, 0.9, 1], [33, 32, 16, 16, 0.8, 1]], np.float32)
        assert decode(model, {"output0": table}).scores == pytest.approx([0.9])

    def test_the_raw_output_has_a_model_of_its_own(self, make_model: MakeModel) -> None:
        model = make_model(Task.SEGMENT, Layout.CANDIDATES)
        model = replace(
            model,
            outputs=(
                Tensor("candidates", "FP32", (10, 8)),
                Tensor("masks", "FP32", (2, 16, 16)),
                Tensor("output0", "FP32", (9, 84)),
            ),
            raw_layout=Layout.ANCHOR_FREE,
            raw_output="output0",
        )
        assert [output.name for output in model.wanted_outputs] == ["candidates", "masks"]
        assert model.raw is not None
        assert model.raw.layout is Layout.ANCHOR_FREE
        assert [output.name for output in model.raw.outputs] == ["output0", "masks"]
        assert model.raw.raw is None


@pytest.mark.parametrize(
    ("placement", "resized", "top_left"),
    [
        (Placement.CENTRE, (32, 64), (16, 0)),
        (Placement.CORNER, (32, 64), (0, 0)),
        (Placement.STRETCH, (64, 64), (0, 0)),
    ],
)
def test_each_placement_maps_corners_back(
    placement: Placement, resized: tuple[int, int], top_left: tuple[int, int]
) -> None:
    view = Letterbox.fit((100, 200), (64, 64), placement)
    assert view.resized_hw == resized
    assert (view.top, view.left) == top_left
    canvas = view.apply(np.full((100, 200, 3), 7, np.uint8))
    assert (canvas == 7).all(axis=2).sum() == resized[0] * resized[1]
    corners = np.array(
        [[view.left, view.top], [view.left + resized[1], view.top + resized[0]]], np.float32
    )
    assert view.to_source(corners).tolist() == [[0, 0], [200, 100]]


def test_an_image_in_the_corner_is_mapped_back_by_one_number() -> None:
    """333 x 97 px on 320 px: 93.21 rows are cut to 93, and still 0.961 px are one pixel."""
    view = Letterbox.fit((97, 333), (320, 320), Placement.CORNER)
    assert view.resized_hw == (93, 320)
    assert view.to_source(np.array([[320, 93]], np.float32), clip=False)[0] == pytest.approx(
        [333, 93 * 333 / 320]
    )


def test_a_grey_image_has_one_channel() -> None:
    image = np.arange(200, dtype=np.uint8).reshape(10, 20, 1)
    canvas = Letterbox.fit((10, 20), (32, 32)).apply(image)
    assert canvas.shape == (32, 32, 1)
    assert (canvas[0] == 114).all()


def test_the_exponent_of_a_wild_size_is_dropped(make_model: MakeModel) -> None:
    table = np.zeros((84, 8), np.float32)
    table[0] = [0, 0, 1000, 1000, 1, 1, 0, 0]
    assert exp(10) < 1e6
    assert len(decode(make_model(Task.DETECT, Layout.GRID), {"output0": table})) == 0
