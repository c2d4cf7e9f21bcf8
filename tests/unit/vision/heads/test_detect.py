"""Boxes from rows, shared by all heads but the classifier."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluice.errors import UnsupportedModel
from sluice.models import Layout, Model, Task
from sluice.vision import heads
from sluice.vision.boxes import box_iou, xywh_to_xyxy
from sluice.vision.heads import DecodeParameters, Detections
from sluice.vision.letterbox import Letterbox
from tests.unit.vision.heads.conftest import LAYOUTS

MakeModel = Callable[..., Model]
Floats = npt.NDArray[np.float32]

SQUARE = Letterbox.fit((64, 64), (64, 64))


def table_of(
    layout: Layout,
    rows: list[tuple[tuple[float, float, float, float], int, float]],
    classes: int = 3,
) -> Floats:
    """Return an output whose rows have a box as x1, y1, x2, y2, a class id and a score."""
    lines = []
    for (x1, y1, x2, y2), class_id, score in rows:
        centred = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
        scores = [0.0] * classes
        if layout is Layout.END_TO_END:
            lines.append([x1, y1, x2, y2, score, class_id])
        elif layout is Layout.CANDIDATES:
            lines.append([*centred, score, class_id])
        elif layout is Layout.ANCHORS:
            scores[class_id] = 0.8
            lines.append([*centred, score / 0.8, *scores])
        else:
            scores[class_id] = score
            lines.append([*centred, *scores])
    width = {Layout.ANCHORS: 5 + classes, Layout.ANCHOR_FREE: 4 + classes}.get(layout, 6)
    table = np.array(lines, np.float32).reshape(-1, width)
    return np.ascontiguousarray(table.T) if layout is Layout.ANCHOR_FREE else table


def decode(
    model: Model, output: npt.NDArray[Any], view: Letterbox = SQUARE, **parameters: Any
) -> Detections:
    result = heads.decode(model, {"output0": output}, DecodeParameters(**parameters), view)
    assert isinstance(result, Detections)
    return result


@pytest.mark.parametrize("layout", LAYOUTS)
class TestEveryLayout:
    def test_detections_come_out_best_first(self, make_model: MakeModel, layout: Layout) -> None:
        rows = [((0, 0, 10, 20), 0, 0.5), ((30, 30, 40, 40), 2, 0.75), ((5, 40, 15, 50), 1, 0.1)]
        detections = decode(make_model(Task.DETECT, layout), table_of(layout, [*rows]))
        assert detections.boxes.tolist() == [[30, 30, 40, 40], [0, 0, 10, 20]]
        assert detections.scores == pytest.approx([0.75, 0.5])
        assert detections.class_ids.tolist() == [2, 0]
        assert detections.boxes.dtype == detections.scores.dtype == np.float32
        assert detections.class_ids.dtype == np.int64
        assert [
            detections.keypoints,
            detections.rotated,
            detections.corners,
            detections.polygons,
        ] == [None] * 4
        assert len(detections) == 2

    def test_half_precision_is_read_too(self, make_model: MakeModel, layout: Layout) -> None:
        output = table_of(layout, [((0, 0, 10, 20), 0, 0.5)]).astype(np.float16)
        detections = decode(make_model(Task.DETECT, layout), output)
        assert detections.boxes.tolist() == [[0, 0, 10, 20]]
        assert detections.scores.dtype == np.float32

    def test_boxes_are_mapped_to_the_source_and_clipped(
        self, make_model: MakeModel, layout: Layout
    ) -> None:
        output = table_of(layout, [((0, 10, 32, 32), 0, 0.5), ((40, 20, 90, 60), 1, 0.5)])
        detections = decode(
            make_model(Task.DETECT, layout), output, Letterbox.fit((100, 200), (64, 64))
        )
        assert detections.boxes.tolist() == [[0, 0, 100, 50], [125, 12.5, 200, 100]]

    def test_an_output_without_detections_gives_empty_arrays(
        self, make_model: MakeModel, layout: Layout
    ) -> None:
        for rows in ([], [((0.0, 0.0, 10.0, 20.0), 0, 0.2)]):
            detections = decode(make_model(Task.DETECT, layout), table_of(layout, rows))
            assert (
                detections.boxes.shape,
                detections.scores.shape,
                detections.class_ids.shape,
            ) == (
                (0, 4),
                (0,),
                (0,),
            )
            assert detections.boxes.dtype == np.float32
            assert detections.class_ids.dtype == np.int64

    def test_a_score_equal_to_the_confidence_is_left_out(
        self, make_model: MakeModel, layout: Layout
    ) -> None:
        output = table_of(layout, [((0, 0, 10, 20), 0, 0.5)])
        model = make_model(Task.DETECT, layout)
        assert len(decode(model, output, confidence=0.5)) == 0
        assert len(decode(model, output, confidence=0.49)) == 1

    def test_classes_are_kept_by_id(self, make_model: MakeModel, layout: Layout) -> None:
        output = table_of(layout, [((x, 0, x + 9, 9), i, 0.5) for i, x in enumerate((0, 20, 40))])
        model = make_model(Task.DETECT, layout)
        assert sorted(decode(model, output, classes=(0, 2)).class_ids.tolist()) == [0, 2]
        assert len(decode(model, output, classes=())) == 0
        assert len(decode(model, output, classes=(7,))) == 0

    def test_max_detections_keeps_the_best(self, make_model: MakeModel, layout: Layout) -> None:
        output = table_of(layout, [((x, 0, x + 5, 9), 0, 0.3 + x / 100) for x in (30, 10, 50, 20)])
        detections = decode(make_model(Task.DETECT, layout), output, max_detections=2)
        assert detections.scores == pytest.approx([0.8, 0.6])

    def test_overlaps_are_suppressed_unless_the_model_suppressed_them(
        self, make_model: MakeModel, layout: Layout
    ) -> None:
        rows = [((0, 0, 10, 10), 0, 0.9), ((0, 0, 10, 9), 0, 0.8), ((0, 0, 9, 10), 1, 0.7)]
        model, output = make_model(Task.DETECT, layout), table_of(layout, [*rows])
        told_apart, together = decode(model, output), decode(model, output, class_agnostic=True)
        if layout is Layout.END_TO_END:
            assert len(told_apart) == len(together) == 3
        else:
            assert told_apart.class_ids.tolist() == [0, 1]
            assert together.class_ids.tolist() == [0]
            assert len(decode(model, output, iou=0.95)) == 3

    @pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf, 1e30])
    def test_a_row_with_a_number_that_is_not_finite_is_no_detection(
        self, make_model: MakeModel, layout: Layout, broken: float
    ) -> None:
        model = make_model(Task.DETECT, layout)
        good = table_of(layout, [((0, 0, 10, 20), 0, 0.5), ((30, 30, 40, 40), 1, 0.5)])
        good = good.T if layout is Layout.ANCHOR_FREE else good
        for value in range(good.shape[1]):
            table = good.copy()
            table[0, value] = broken
            output = np.ascontiguousarray(table.T) if layout is Layout.ANCHOR_FREE else table
            try:
                detections = decode(model, output)
            except UnsupportedModel:
                assert layout in (Layout.END_TO_END, Layout.CANDIDATES)
                assert (value, broken) == (5, 1e30)
                continue
            assert np.isfinite(detections.boxes).all()
            assert np.isfinite(detections.scores).all()
            assert [30, 30, 40, 40] in detections.boxes.tolist()

    def test_a_shape_that_does_not_fit_is_explained(
        self, make_model: MakeModel, layout: Layout
    ) -> None:
        expected = {
            Layout.ANCHORS: r"\(rows, 8\)",
            Layout.ANCHOR_FREE: r"\(7, anchors\)",
            Layout.END_TO_END: r"\(rows, 6\)",
            Layout.CANDIDATES: r"\(rows, 6\)",
        }[layout]
        model = make_model(Task.DETECT, layout)
        for shape in [(9, 9), (5, 100), (100, 5), (0, 0)]:
            with pytest.raises(
                UnsupportedModel, match=f"detect, {layout}, with 3 classes.* {expected}, but it is"
            ) as error:
                decode(model, np.zeros(shape, np.float32))
            assert str(shape) in error.value.message

    def test_an_output_of_other_dimensions_is_explained(
        self, make_model: MakeModel, layout: Layout
    ) -> None:
        model = make_model(Task.DETECT, layout)
        with pytest.raises(
            UnsupportedModel, match=r"needs an output of 2 dimensions .* are \(1, 7, 20\)"
        ):
            decode(model, np.zeros((1, 7, 20), np.float32))
        with pytest.raises(UnsupportedModel, match="no output"):
            heads.decode(model, {}, DecodeParameters(), SQUARE)


def test_objectness_counts_in_the_score_but_is_not_the_score(make_model: MakeModel) -> None:
    output = np.array(
        [
            [5, 5, 10, 10, 0.9, 0.2, 0.1, 0.0],  # a certain object of an uncertain class: 0.18
            [5, 5, 10, 10, 0.5, 0.0, 0.8, 0.7],  # 0.4
            [30, 30, 10, 10, 0.8, 0.0, 0.0, 0.9],  # 0.72
            [50, 50, 10, 10, 0.2, 1.0, 0.0, 0.0],  # 0.2
        ],
        np.float32,
    )
    detections = decode(make_model(Task.DETECT, Layout.ANCHORS), output)
    assert detections.scores == pytest.approx([0.72, 0.4])
    assert detections.class_ids.tolist() == [2, 1]


def test_a_row_counts_for_its_best_class_only(make_model: MakeModel) -> None:
    output = np.array([[5, 5, 10, 10, 0.6, 0.9, 0.7]], np.float32).T
    model = make_model(Task.DETECT)
    assert decode(model, output).class_ids.tolist() == [1]
    assert len(decode(model, output, classes=(0, 2))) == 0


def test_an_end_to_end_class_without_a_name_is_explained(make_model: MakeModel) -> None:
    model = make_model(Task.DETECT, Layout.END_TO_END)
    output = np.array([[0, 0, 9, 9, 0.9, 0], [0, 0, 9, 9, 0.5, 7]], np.float32)
    with pytest.raises(UnsupportedModel, match="found class 7, but it names only 3 classes"):
        decode(model, output)
    assert len(decode(model, output, confidence=0.6)) == 1
    with pytest.raises(UnsupportedModel, match="found class -1"):
        decode(model, np.array([[0, 0, 9, 9, 0.9, -1]], np.float32))
    with pytest.raises(UnsupportedModel, match=r"found class 1\.5"):
        decode(model, np.array([[0, 0, 9, 9, 0.9, 1.5]], np.float32))


def test_the_first_output_that_fits_is_read(make_model: MakeModel) -> None:
    raw, rows = (
        np.zeros((3, 8, 8), np.float32),
        table_of(Layout.ANCHOR_FREE, [((0, 0, 9, 9), 0, 0.5)]),
    )
    detections = heads.decode(
        make_model(Task.DETECT), {"output1": rows, "output0": raw}, DecodeParameters(), SQUARE
    )
    assert len(detections) == 1


@settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(0, 80),
    layout=st.sampled_from([Layout.ANCHORS, Layout.ANCHOR_FREE]),
    confidence=st.sampled_from([0, 0.3, 0.6]),
    limit=st.integers(1, 30),
    classes=st.none() | st.sampled_from([(0,), (1, 2)]),
    agnostic=st.booleans(),
)
def test_decoding_equals_a_slow_reference(
    make_model: MakeModel,
    seed: int,
    rows: int,
    layout: Layout,
    confidence: float,
    limit: int,
    classes: tuple[int, ...] | None,
    agnostic: bool,
) -> None:
    random = np.random.default_rng(seed)
    table = random.random((rows, 8 if layout is Layout.ANCHORS else 7), np.float32)
    table[:, :4] = table[:, :4] * 30 + 10

    wanted: list[tuple[float, int, Floats]] = []
    for row in table:
        scores = row[4] * row[5:] if layout is Layout.ANCHORS else row[4:]
        class_id = int(np.argmax(scores))
        if scores[class_id] > confidence and (classes is None or class_id in classes):
            wanted.append((float(scores[class_id]), class_id, xywh_to_xyxy(row[None, :4])))
    wanted.sort(key=lambda each: -each[0])
    kept: list[tuple[float, int, Floats]] = []
    for each in wanted:
        rivals = [other for other in kept if agnostic or other[1] == each[1]]
        if all(box_iou(other[2], each[2])[0, 0] <= np.float32(0.45) for other in rivals):
            kept.append(each)

    output = np.ascontiguousarray(table.T) if layout is Layout.ANCHOR_FREE else table
    parameters: dict[str, Any] = {
        "confidence": confidence,
        "max_detections": limit,
        "classes": classes,
        "class_agnostic": agnostic,
    }
    detections = decode(make_model(Task.DETECT, layout), output, **parameters)
    assert detections.scores.tolist() == [score for score, _, _ in kept[:limit]]
    assert detections.class_ids.tolist() == [class_id for _, class_id, _ in kept[:limit]]
    boxes = np.concatenate([box for _, _, box in kept[:limit]] or [np.zeros((0, 4), np.float32)])
    assert detections.boxes == pytest.approx(np.clip(boxes, 0, 64), abs=1e-4)


def test_results_and_parameters_are_frozen() -> None:
    parameters = replace(DecodeParameters(), confidence=0.5)
    with pytest.raises(AttributeError):
        parameters.confidence = 0.1  # type: ignore[misc]
