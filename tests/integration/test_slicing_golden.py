"""Sliced inference with the reference models: each object of a mosaic is found once.

The mosaic's cells are the reference images, as the models see them. Tiles cut the cells anywhere.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from sluice.models import Model, Tensor
from sluice.repository import metadata, onnx_file
from sluice.repository.batch import open_batch
from sluice.repository.description import Description, Overrides, describe
from sluice.repository.running import Runner, model_of
from sluice.slicing import Slicing
from sluice.vision.heads import DecodeParameters, Detections
from sluice.vision.triton.slots import Outputs, Slot
from tests.support.paths import GOLDEN, NO_GOLDEN
from worker import slicing
from worker.stages import Stages

pytestmark = pytest.mark.integration

if NO_GOLDEN:
    pytest.skip(NO_GOLDEN, allow_module_level=True)

SIDE, GAP, COLUMNS = 320, 20, 4
SURE = DecodeParameters(confidence=0.5)
"""Of weaker detections, the models change their mind with each cut."""
HALVES = Slicing(size=(SIDE, SIDE), overlap=0.5)
Pixels = npt.NDArray[np.uint8]


@dataclass
class GraphSlot(Slot):
    """One image's memory, and a graph that runs in this process."""

    inputs: list[npt.NDArray[Any]]
    runner: Runner
    description: Description

    def infer_all(self, outputs: Sequence[Tensor] | None = None) -> Sequence[Outputs]:
        canvases = np.stack([(canvas.transpose(1, 2, 0) * 255).round() for canvas in self.inputs])
        answers = self.runner.run(self.description, canvases.astype(np.uint8))
        return [
            {name: array[index] for name, array in answers.items()}
            for index in range(len(self.inputs))
        ]


class GraphEngine:
    """A reference model."""

    def __init__(self, name: str) -> None:
        file = onnx_file.read(GOLDEN / "models" / f"{name}.onnx")
        description = describe(file, metadata.parse(file.metadata), Overrides())
        file, self._description = open_batch(file, description)
        self._runner = Runner(file)
        self.model = model_of(self._description)

    @contextlib.contextmanager
    def slot(self, model: Model, images: int = 1) -> Iterator[Slot]:
        room = [np.zeros((model.channels, *model.imgsz), np.float32) for _ in range(images)]
        yield GraphSlot(room, self._runner, self._description)

    def run(self, image: Pixels, asked: Slicing) -> Detections:
        return slicing.run(self, self.model, image, SURE, asked, Stages(), 4)


def _cells() -> list[Pixels]:
    """The reference images, at the size that they have in the models' input."""
    cells = []
    for path in sorted((GOLDEN / "images").iterdir()):
        image = cv2.imread(str(path))
        assert image is not None
        scale = SIDE / max(image.shape[:2])
        kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        cells.append(cv2.resize(image, None, fx=scale, fy=scale, interpolation=kind)[..., ::-1])
    return cells  # type: ignore[return-value]


def _same(one: Detections, other: Detections) -> npt.NDArray[np.bool_]:
    """Return which upright boxes of one class have an IoU of a half: (n, m)."""
    a, b = one.boxes[:, None], other.boxes[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.maximum(sides, 0).prod(axis=2)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(axis=2) for boxes in (a, b)]
    near: npt.NDArray[np.bool_] = shared >= 0.5 * (areas[0] + areas[1] - shared)
    return near & (one.class_ids[:, None] == other.class_ids[None])


@pytest.mark.parametrize("name", ["11-detect", "11-segment", "11-obb"])
def test_each_object_of_a_mosaic_is_found_once(name: str) -> None:
    engine, cells, pitch = GraphEngine(name), _cells(), SIDE + GAP
    mosaic = np.full((-(-len(cells) // COLUMNS) * pitch, COLUMNS * pitch, 3), 114, np.uint8)
    wanted = []
    for index, cell in enumerate(cells):
        top, left = (position * pitch + GAP // 2 for position in divmod(index, COLUMNS))
        mosaic[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
        alone = engine.run(np.ascontiguousarray(cell), HALVES)
        boxes = alone.boxes + np.array((left, top, left, top), np.float32)
        wanted.append(Detections(boxes, alone.scores, alone.class_ids))
    found = engine.run(mosaic, HALVES)
    assert sum(len(cell) for cell in wanted) >= len(cells) // 2
    for cell in wanted:
        assert _same(found, cell).sum(axis=0).tolist() == [1] * len(cell)
    whole = engine.run(mosaic, HALVES.model_copy(update={"size": mosaic.shape[:2]}))
    assert len(whole) < len(found) / 2
