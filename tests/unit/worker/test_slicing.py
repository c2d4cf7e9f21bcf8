"""Sliced inference, with an engine that finds each bright spot on its canvas."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.errors import LeaseLost
from sluice.models import Model, Tensor
from sluice.slicing import Slicing
from sluice.vision.heads import DecodeParameters, Detections
from sluice.vision.triton.slots import Outputs, Slot
from tests.unit.worker.conftest import model
from worker import slicing
from worker.stages import Stages

PARAMETERS = DecodeParameters()
BATCHED = replace(model(), max_batch=8)
Box = tuple[int, int, int, int]


@dataclass
class SpotSlot(Slot):
    inputs: list[npt.NDArray[Any]]
    engine: "SpotEngine"

    def infer_all(self, outputs: Sequence[Tensor] | None = None) -> Sequence[Outputs]:
        self.engine.batches.append(len(self.inputs))
        return [{"output0": _spots(canvas)} for canvas in self.inputs]


@dataclass
class SpotEngine:
    batches: list[int] = field(default_factory=list)

    @contextlib.contextmanager
    def slot(self, model: Model, images: int = 1) -> Iterator[Slot]:
        yield SpotSlot([np.zeros(model.input.dims, np.uint8) for _ in range(images)], self)


def _spots(canvas: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Rows of x1, y1, x2, y2, score, class id. The green of a spot is its class."""
    bright = np.ascontiguousarray(canvas[..., 0] > 200).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(bright)
    rows = [
        (x, y, x + w, y + h, 0.5 + area / 20_000, canvas[y + h // 2, x + w // 2, 1] > 200)
        for x, y, w, h, area in stats[1:]
    ]
    return np.array(rows, np.float32).reshape(-1, 6)


def _scene(height: int, width: int, boxes: Sequence[Box], green: int = 0) -> npt.NDArray[np.uint8]:
    image = np.zeros((height, width, 3), np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = (255, green, 0)
    return image


def _run(
    image: npt.NDArray[np.uint8],
    asked: Slicing,
    *,
    of: Model = BATCHED,
    parameters: DecodeParameters = PARAMETERS,
    stages: Stages | None = None,
    engine: SpotEngine | None = None,
    max_batch: int = 4,
) -> Detections:
    return slicing.run(
        engine or SpotEngine(), of, image, parameters, asked, stages or Stages(), max_batch
    )


def _boxes(found: Detections) -> list[Box]:
    return sorted(tuple(box) for box in found.boxes.round().astype(int).tolist())


@st.composite
def _layouts(draw: st.DrawFn) -> tuple[int, int, list[Box]]:
    """Boxes in cells of 24 pixels, so that they do not touch; each fits into the overlap."""
    rows, columns = draw(st.integers(3, 14)), draw(st.integers(3, 14))
    boxes = []
    for row in range(rows):
        for column in range(columns):
            if draw(st.booleans()):
                width, height = draw(st.integers(4, 12)), draw(st.integers(4, 12))
                x, y = column * 24 + draw(st.integers(4, 8)), row * 24 + draw(st.integers(4, 8))
                boxes.append((x, y, x + width, y + height))
    return rows * 24, columns * 24, boxes


@given(_layouts())
def test_each_object_that_fits_into_the_overlap_is_found_once_and_whole(
    layout: tuple[int, int, list[Box]],
) -> None:
    height, width, boxes = layout
    asked = Slicing(overlap=0.25, whole=False)  # 16 pixels of 64
    assert _boxes(_run(_scene(height, width, boxes), asked)) == sorted(boxes)


def test_an_object_larger_than_a_tile_is_found_whole_and_without_its_parts() -> None:
    large, small = (10, 10, 118, 115), (150, 150, 158, 158)
    image = _scene(192, 192, [large, small])
    found = _run(image, Slicing())
    assert len(found) == 2
    assert np.abs(found.boxes[0] - large).max() <= 3  # scaled down to a third, and back
    assert tuple(found.boxes[1].round().tolist()) == small
    assert len(_run(image, Slicing(whole=False))) > 2


@pytest.mark.parametrize("green", [0, 255], ids=["same-class", "other-class"])
def test_an_object_inside_another_one_stays(green: int) -> None:
    image = _scene(64, 128, [(10, 10, 50, 50)])
    image[20:32, 20:32] = (0, 0, 0)
    image[22:30, 22:30] = (255, green, 0)
    found = _run(image, Slicing(overlap=0))
    assert sorted(found.class_ids.tolist()) == [0, green // 255]


def test_a_part_that_scores_higher_does_not_replace_the_whole_object() -> None:
    """The whole object keeps its box, and gets the part's score."""
    box = (50, 20, 70, 40)
    image = _scene(64, 112, [box])
    found = _run(image, Slicing(overlap=0.2, whole=False))
    assert _boxes(found) == [box]
    assert found.scores[0] == pytest.approx(0.5 + 400 / 20_000)


def test_tiles_run_in_batches_and_the_rest_in_a_smaller_one() -> None:
    engine, stages = SpotEngine(), Stages()
    _run(_scene(64, 64 * 4, []), Slicing(overlap=0, whole=True), engine=engine, stages=stages)
    assert engine.batches == [4, 1]
    assert stages.metrics["tiles"] == 5
    assert {"letterbox_time", "inference_time", "postprocess_time", "merge_time"} <= set(
        stages.metrics
    )


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (replace(BATCHED, max_batch=2), [2, 2, 1]),
        (replace(BATCHED, batched=False), [1] * 5),
        (replace(BATCHED, batched=False, fixed_batch=3), [3, 2]),
    ],
    ids=["small-batch", "no-batch", "fixed-batch"],
)
def test_a_batch_is_as_large_as_the_model_allows(of: Model, expected: list[int]) -> None:
    engine = SpotEngine()
    _run(_scene(64, 64 * 4, []), Slicing(overlap=0), of=of, engine=engine)
    assert engine.batches == expected


def test_an_image_that_fits_into_a_tile_runs_once() -> None:
    engine = SpotEngine()
    assert _boxes(_run(_scene(40, 64, [(3, 3, 9, 9)]), Slicing(), engine=engine)) == [(3, 3, 9, 9)]
    assert engine.batches == [1]


def test_a_canceled_attempt_stops_before_the_next_batch() -> None:
    confirmed = []

    def confirm() -> None:
        confirmed.append(1)
        if len(confirmed) == 3:
            raise LeaseLost("canceled")

    engine = SpotEngine()
    with pytest.raises(LeaseLost):
        _run(
            _scene(64 * 4, 64 * 4, []),
            Slicing(overlap=0),
            engine=engine,
            stages=Stages(confirm=confirm),
        )
    assert engine.batches == [4, 4]


def test_the_best_detections_of_all_tiles_are_kept() -> None:
    boxes = [(x, 10, x + size, 10 + size) for x, size in ((4, 4), (70, 8), (134, 12), (200, 16))]
    parameters = replace(PARAMETERS, max_detections=2)
    found = _run(_scene(64, 256, boxes), Slicing(overlap=0, whole=False), parameters=parameters)
    assert _boxes(found) == boxes[2:]
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
