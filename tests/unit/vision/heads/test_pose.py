from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from sluice.errors import UnsupportedModel
from sluice.models import Layout, Model, Task
from sluice.vision import heads
from sluice.vision.heads import DecodeParameters, Detections
from sluice.vision.letterbox import Letterbox
from tests.unit.vision.heads.conftest import LAYOUTS

MakeModel = Callable[..., Model]
VIEW = Letterbox.fit(
    (100, 200), (64, 64)
)  # 0.32 network pixels per source pixel, 16 px of padding above


def output_of(layout: Layout, keypoints: list[float]) -> np.ndarray:
    """One box of class 1 with a score of 0.5 and keypoints, and an empty row."""
    first = {
        Layout.ANCHORS: [16.0, 32.0, 8.0, 8.0, 0.5, 0.0, 1.0, 0.0],
        Layout.ANCHOR_FREE: [16.0, 32.0, 8.0, 8.0, 0.0, 0.5, 0.0],
        Layout.END_TO_END: [12.0, 28.0, 20.0, 36.0, 0.5, 1.0],
        Layout.CANDIDATES: [16.0, 32.0, 8.0, 8.0, 0.5, 1.0],
    }[layout]
    table = np.zeros((2, len(first) + len(keypoints)), np.float32)
    table[1] = [*first, *keypoints]
    return table.T if layout is Layout.ANCHOR_FREE else table


@pytest.mark.parametrize("layout", LAYOUTS)
def test_keypoints_are_mapped_to_the_source_and_clipped(
    make_model: MakeModel, layout: Layout
) -> None:
    output = output_of(layout, [16, 32, 0.75, 70, 0, 0.25, 16, 32, 0])
    detections = heads.decode(
        make_model(Task.POSE, layout), {"output0": output}, DecodeParameters(), VIEW
    )
    assert isinstance(detections, Detections)
    assert detections.keypoints is not None
    assert detections.keypoints.dtype == np.float32
    assert detections.keypoints.tolist() == [[[50, 50, 0.75], [200, 0, 0.25], [50, 50, 0]]]
    assert detections.boxes[0] == pytest.approx([37.5, 37.5, 62.5, 62.5])
    assert detections.class_ids.tolist() == [1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_output_without_detections_gives_empty_arrays(
    make_model: MakeModel, layout: Layout
) -> None:
    output = output_of(layout, [0.0] * 51)
    detections = heads.decode(
        make_model(Task.POSE, layout), {"output0": output}, DecodeParameters(confidence=0.9), VIEW
    )
    assert isinstance(detections, Detections)
    assert detections.keypoints is not None
    assert detections.keypoints.shape == (0, 17, 3)


def test_keypoints_stay_with_their_boxes(make_model: MakeModel) -> None:
    table = np.array(
        [
            [10, 10, 8, 8, 0.5, 1, 1, 0.1],
            [10, 10, 8, 8, 0.4, 2, 2, 0.2],
            [40, 40, 8, 8, 0.9, 3, 3, 0.3],
        ],
        np.float32,
    )
    square = Letterbox.fit((64, 64), (64, 64))
    detections = heads.decode(
        make_model(Task.POSE, classes=1), {"output0": table.T}, DecodeParameters(), square
    )
    assert isinstance(detections, Detections)
    assert detections.keypoints is not None
    assert detections.keypoints[:, 0, 0].tolist() == [3, 1]


def test_a_broken_keypoint_is_no_detection(make_model: MakeModel) -> None:
    output = output_of(Layout.ANCHOR_FREE, [16, np.nan, 0.75])
    assert (
        len(heads.decode(make_model(Task.POSE), {"output0": output}, DecodeParameters(), VIEW)) == 0
    )


@pytest.mark.parametrize(("values", "words"), [(0, "are no keypoints"), (1, "are no keypoints")])
def test_values_that_are_no_keypoints_are_explained(
    make_model: MakeModel, values: int, words: str
) -> None:
    output = output_of(Layout.ANCHOR_FREE, [0.0] * values)
    with pytest.raises(UnsupportedModel, match=f"the {values} values in a row .* {words}"):
        heads.decode(make_model(Task.POSE), {"output0": output}, DecodeParameters(), VIEW)


def test_values_that_fit_both_forms_are_not_guessed(make_model: MakeModel) -> None:
    output = output_of(Layout.ANCHOR_FREE, [0.0] * 12)
    with pytest.raises(UnsupportedModel, match=r"add sluice\.kpt_shape, such as \"\[4, 3\]\""):
        heads.decode(make_model(Task.POSE), {"output0": output}, DecodeParameters(), VIEW)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("points", [2, 3])
def test_keypoints_without_a_confidence_are_points(
    make_model: MakeModel, layout: Layout, points: int
) -> None:
    """Three points have six values, which the model's kpt_shape tells from two with confidence."""
    output = output_of(layout, [16, 32, 20, 36, 24, 40][: 2 * points])
    model = replace(make_model(Task.POSE, layout), kpt_shape=(points, 2))
    detections = heads.decode(model, {"output0": output}, DecodeParameters(), VIEW)
    assert isinstance(detections, Detections)
    assert detections.keypoints is not None
    assert detections.keypoints.tolist() == [[[50, 50], [62.5, 62.5], [75, 75]][:points]]


def test_a_kpt_shape_that_does_not_fit_is_explained(make_model: MakeModel) -> None:
    model = replace(make_model(Task.POSE), kpt_shape=(17, 3))
    output = output_of(Layout.ANCHOR_FREE, [0.0] * 12)
    with pytest.raises(UnsupportedModel, match="17 keypoints of 3 values do not fit the 12 values"):
        heads.decode(model, {"output0": output}, DecodeParameters(), VIEW)
