import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluice.errors import UnsupportedModel
from sluice.models import Layout, Model, Task
from sluice.vision import heads
from sluice.vision.boxes import rotated_corners
from sluice.vision.heads import DecodeParameters, Detections
from sluice.vision.letterbox import Letterbox
from tests.unit.vision.heads.conftest import LAYOUTS

MakeModel = Callable[..., Model]
VIEW = Letterbox.fit(
    (100, 200), (64, 64)
)  # 0.32 network pixels per source pixel, 16 px of padding above


def output_of(layout: Layout, rows: list[tuple[tuple[float, ...], float]]) -> np.ndarray:
    """Each row has centre x, y, width, height and angle, and a score for class 1."""
    lines = []
    for (*box, angle), score in rows:
        scores = {
            Layout.ANCHORS: [score, 0, 1, 0],
            Layout.ANCHOR_FREE: [0, score, 0],
            Layout.END_TO_END: [score, 1],
            Layout.CANDIDATES: [score, 1],
        }[layout]
        lines.append([*box, *scores, angle])
    table = np.array(lines, np.float32)
    return table.T if layout is Layout.ANCHOR_FREE else table


def decode(
    model: Model, output: np.ndarray, view: Letterbox = VIEW, **parameters: Any
) -> Detections:
    detections = heads.decode(model, {"output0": output}, DecodeParameters(**parameters), view)
    assert isinstance(detections, Detections)
    assert detections.rotated is not None
    assert detections.corners is not None
    return detections


@pytest.mark.parametrize("layout", LAYOUTS)
class TestEveryLayout:
    def test_a_box_is_mapped_to_the_source(self, make_model: MakeModel, layout: Layout) -> None:
        detections = decode(
            make_model(Task.OBB, layout), output_of(layout, [((32, 32, 16, 8, math.pi / 6), 0.5)])
        )
        assert detections.rotated is not None
        assert detections.corners is not None
        assert detections.rotated[0] == pytest.approx([100, 50, 50, 25, math.pi / 6])
        assert detections.corners[0] == pytest.approx(rotated_corners(detections.rotated)[0])
        assert (
            detections.corners.dtype
            == detections.rotated.dtype
            == detections.boxes.dtype
            == np.float32
        )
        reach = (25 * math.cos(math.pi / 6) + 12.5 / 2, 12.5 + 12.5 * math.cos(math.pi / 6))
        assert detections.boxes[0] == pytest.approx(
            [100 - reach[0], 50 - reach[1], 100 + reach[0], 50 + reach[1]]
        )
        assert detections.class_ids.tolist() == [1]

    def test_the_enclosing_box_is_clipped_and_the_corners_are_not(
        self, make_model: MakeModel, layout: Layout
    ) -> None:
        detections = decode(
            make_model(Task.OBB, layout), output_of(layout, [((-4, 12, 16, 16, 0), 0.5)])
        )
        assert detections.corners is not None
        assert detections.boxes[0] == pytest.approx([0, 0, 12.5, 12.5])
        assert detections.corners[0].tolist() == [
            [12.5, 12.5],
            [12.5, -37.5],
            [-37.5, -37.5],
            [-37.5, 12.5],
        ]

    def test_an_output_without_detections_gives_empty_arrays(
        self, make_model: MakeModel, layout: Layout
    ) -> None:
        detections = decode(
            make_model(Task.OBB, layout), output_of(layout, [((0, 16, 16, 8, 0), 0.1)])
        )
        assert detections.rotated is not None
        assert detections.corners is not None
        assert (detections.boxes.shape, detections.rotated.shape, detections.corners.shape) == (
            (0, 4),
            (0, 5),
            (0, 4, 2),
        )

    def test_overlaps_are_suppressed_unless_the_model_suppressed_them(
        self, make_model: MakeModel, layout: Layout
    ) -> None:
        rows = [
            ((32, 32, 30, 3, 0.5), 0.7),
            ((32, 32, 30, 3, 0.55), 0.9),
            ((32, 32, 30, 3, 0.5 + math.pi / 2), 0.8),
        ]
        detections = decode(make_model(Task.OBB, layout), output_of(layout, [*rows]))
        # The third box crosses the second. The two differ only by their angles.
        assert detections.scores == pytest.approx(
            [0.9, 0.8, 0.7] if layout is Layout.END_TO_END else [0.9, 0.8]
        )


@settings(
    derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    angle=st.floats(-7, 7, width=32),
    width=st.floats(1, 20, width=32),
    height=st.floats(1, 20, width=32),
)
def test_angles_are_brought_between_0_and_a_quarter_turn(
    make_model: MakeModel, angle: float, width: float, height: float
) -> None:
    output = output_of(Layout.ANCHOR_FREE, [((32, 32, width, height, angle), 0.5)])
    detections = decode(make_model(Task.OBB), output, Letterbox.fit((64, 64), (64, 64)))
    assert detections.rotated is not None
    assert detections.corners is not None
    assert -1e-6 <= detections.rotated[0, 4] <= math.pi / 2 + 1e-6
    before = rotated_corners(np.array([[32, 32, width, height, angle]], np.float32))[0]
    apart = np.linalg.norm(before[:, None] - detections.corners[0][None], axis=2)
    assert apart.min(axis=1) == pytest.approx(0, abs=1e-3)  # the same four corners, in any order


def test_an_output_without_an_angle_is_explained(make_model: MakeModel) -> None:
    with pytest.raises(
        UnsupportedModel,
        match=r"obb, anchor-free, with 3 classes.*\(8, anchors\), but it is \(7, 5\)",
    ):
        heads.decode(
            make_model(Task.OBB),
            {"output0": np.zeros((7, 5), np.float32)},
            DecodeParameters(),
            VIEW,
        )
