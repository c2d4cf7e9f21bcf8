"""A pipeline over in-memory systems, and an engine that finds one box in every image."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from sluice.blobs.store import input_key
from sluice.errors import UnknownModel
from sluice.models import Layout, Model, Task, Tensor
from sluice.prediction import Parameters, Submission
from sluice.vision.ensemble import Answer, Request
from sluice.vision.shared_memory import Region
from sluice.vision.triton.slots import Outputs, Slot
from tests.fakes.blobs import MemoryBlobs
from tests.fakes.ledger import MemoryLedger
from worker.pipeline import Pipeline
from worker.steps import Finish, Prepare


def model(dtype: str = "UINT8", dims: tuple[int, ...] = (64, 64, 3)) -> Model:
    """An end-to-end model of two classes."""
    outputs = (Tensor("output0", "FP32", (2, 6)),)
    return Model(
        "codes",
        Task.DETECT,
        Layout.END_TO_END,
        ("cat", "dog"),
        (64, 64),
        Tensor("images", dtype, dims),
        outputs,
        True,
    )


@dataclass
class FakeAnswer:
    answer: Answer

    def as_numpy(self, name: str) -> npt.NDArray[np.uint8]:
        data = {"result": self.answer.encoded(), "drawing": self.answer.drawing}[name]
        return np.frombuffer(data, np.uint8)


@dataclass
class FakeSlot(Slot):
    inputs: list[npt.NDArray[Any]]
    engine: "FakeEngine"

    def infer_all(self, outputs: Sequence[Tensor] | None = None) -> Sequence[Outputs]:
        if self.engine.errors:
            raise self.engine.errors.pop(0)
        self.engine.batches.append(len(self.inputs))
        return [self._answer(canvas) for canvas in self.inputs]

    def _answer(self, canvas: npt.NDArray[Any]) -> Outputs:
        self.engine.seen.append(canvas.copy())
        if self.engine.answers:
            return self.engine.answers.pop(0)
        return {"output0": np.array([[16, 24, 48, 40, 0.9, 1], [0, 0, 8, 8, 0.1, 0]], np.float32)}


@dataclass
class FakeEngine:
    """Triton's place in the pipeline."""

    loaded: Model = field(default_factory=model)
    errors: list[Exception] = field(default_factory=list)
    """Raised by the next inferences, one each."""
    answers: list[dict[str, npt.NDArray[Any]]] = field(default_factory=list)
    """The outputs of the next inferences. Without any, one box is found."""
    seen: list[npt.NDArray[Any]] = field(default_factory=list)
    """The inputs."""
    batches: list[int] = field(default_factory=list)
    """The number of images of each inference."""
    ensemble: Model | None = None
    """An ensemble over the loaded model, under the name `whole`."""
    requests: list[Request] = field(default_factory=list)
    """The requests to the ensemble."""

    def model(self, name: str) -> Model:
        if self.ensemble and name == self.ensemble.name:
            return self.ensemble
        if name != self.loaded.name:
            raise UnknownModel(f"model {name!r} is not loaded")
        return self.loaded

    def infer(self, model: Model, inputs: list[Any], outputs: list[Any]) -> "FakeAnswer":
        """Run the ensemble, with its own steps."""
        assert model == self.ensemble
        image, request = (tensor._get_content() for tensor in inputs)
        self.requests.append(Request.parse(request))
        if self.errors:
            raise self.errors.pop(0)
        _, facts = Prepare(self.loaded).run(image, self.requests[-1])
        found = np.array([[[16, 24, 48, 40, 0.9, 1], [0, 0, 8, 8, 0.1, 0]]], np.float32)
        return FakeAnswer(Finish(self.loaded).run(self.requests[-1], facts, image, [found]))

    def register(self, model: Model, region: Region) -> None:
        raise NotImplementedError

    def unregister(self, region: Region) -> None:
        raise NotImplementedError

    @contextlib.contextmanager
    def slot(self, model: Model, images: int = 1) -> Iterator[FakeSlot]:
        dtype = {"UINT8": np.uint8, "FP32": np.float32, "FP16": np.float16, "INT32": np.int32}[
            model.input.dtype
        ]
        yield FakeSlot([np.zeros(model.input.dims, dtype) for _ in range(images)], self)


@dataclass
class World:
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    engine: FakeEngine = field(default_factory=FakeEngine)

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline(
            self.blobs, self.engine, max_pixels=1_000_000, annotated_ttl_s=60, fetch=str.encode
        )

    def submit(
        self,
        prediction_id: str = "a",
        image: bytes | None = None,
        model: str = "codes",
        **parameters: Any,
    ) -> None:
        self.blobs.put(input_key(prediction_id, ""), png() if image is None else image, 60)
        self.ledger.create(
            prediction_id, Submission(model=model, parameters=Parameters(**parameters))
        )


def png(width: int = 128, height: int = 64) -> bytes:
    """Red above, blue below."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, :, 2] = 255
    image[height // 2 :, :, 0] = 255
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.fixture
def world() -> World:
    return World()
