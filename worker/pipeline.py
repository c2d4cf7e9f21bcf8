"""The path of one image: bytes, pixels, canvas, Triton, head, output. No queue, no ledger."""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from sluice.blobs.store import Blobs, annotated_key, input_key
from sluice.errors import ImageExpired
from sluice.models import Model, Recipe, Task
from sluice.prediction import Parameters, Prediction
from sluice.slicing import Slicing, check_task, check_tiles
from sluice.vision import heads
from sluice.vision.canvas import fill
from sluice.vision.ensemble import Answer
from sluice.vision.heads import Classification, DecodeParameters, Detections
from sluice.vision.triton.errors import ModelReplaced
from sluice.vision.triton.slots import Server, Slot
from worker import in_triton, slicing
from worker.annotate import annotate
from worker.decode import decode
from worker.memory import MemoryBudget
from worker.output import describe
from worker.stages import Stages

Pixels = npt.NDArray[np.uint8]
T = TypeVar("T")

# Of the model, in one attempt. More would be a fault of what replaces it.
_MAX_REPLACEMENTS = 5


class Engine(Server, Protocol):
    """The part of `sluice.vision.triton.client.Triton` that the pipeline needs."""

    def model(self, name: str) -> Model:
        """Return the loaded model. Raises UnknownModel, UnsupportedModel or Unavailable."""

    def slot(self, model: Model, images: int = 1) -> AbstractContextManager[Slot]:
        """Reserve the memory of one inference of `images` images, at most `model.room`."""


@dataclass
class Pipeline:
    """Runs predictions. Thread-safe."""

    blobs: Blobs
    engine: Engine
    max_pixels: int
    annotated_ttl_s: int
    """How long an annotated image is kept."""
    fetch: Callable[[str], bytes]
    """Returns the bytes at a URL; see `sluice.outbound.fetch`."""
    max_tiles: int = 250
    """The largest number of inferences for one image that is cut into tiles."""
    tile_batch: int = 4
    """The largest number of tiles in one inference."""
    memory: MemoryBudget = field(default_factory=MemoryBudget)
    """Bounds the decoding on all threads together."""

    def run(self, prediction: Prediction, stages: Stages) -> dict[str, Any]:
        """Return the prediction's output. With `visualize`, the annotated image is stored first.

        Raises ImageExpired, InvalidInput or a subclass, InferenceFailed, or Unavailable.
        """
        with stages("predict"):
            with stages("fetch"):
                data = self._image(prediction)
            sliced = prediction.parameters.slice is not None
            if not sliced and (answer := self._run_in_triton(prediction, data, stages)):
                stages.seconds |= answer.seconds
                if prediction.parameters.visualize:
                    self._keep_drawing(prediction, answer.drawing)
                return answer.output
            with stages("decode"):
                image = decode(data, self.max_pixels, self.memory)
            output, task = self._run_model(prediction, image, stages)
            if prediction.parameters.visualize:
                with stages("annotate"):
                    drawing = annotate(image, output, task, prediction.parameters.output_format)
                    self._keep_drawing(prediction, drawing)
        return output

    def _run_in_triton(self, prediction: Prediction, data: bytes, stages: Stages) -> Answer | None:
        """Return the answer of one version of an ensemble, or None if the model is none."""

        def attempt() -> Answer | None:
            model = self.engine.model(prediction.model)
            if model.recipe is not Recipe.ENSEMBLE:
                return None
            with stages("triton"):
                return in_triton.run(self.engine, model, prediction, data, self.max_pixels)

        return _by_one_version(prediction.model, attempt)

    def _keep_drawing(self, prediction: Prediction, drawing: bytes) -> None:
        self.blobs.put(annotated_key(prediction.id), drawing, self.annotated_ttl_s)

    def _run_model(
        self, prediction: Prediction, image: Pixels, stages: Stages
    ) -> tuple[dict[str, Any], Task]:
        """Return the output of one version of the model, and the version's task."""

        def attempt() -> tuple[dict[str, Any], Task]:
            model = in_triton.with_canvas(self.engine, prediction.model)
            parameters = _decode_parameters(model, prediction.parameters)
            asked = prediction.parameters.slice
            result: Detections | Classification
            if asked is None:
                result = self._run_whole(model, image, parameters, stages)
            else:
                result = self._run_sliced(model, image, parameters, asked, stages)
            return describe(prediction.id, result, model.names, image.shape[:2]), model.task

        return _by_one_version(prediction.model, attempt)

    def _run_whole(
        self, model: Model, image: Pixels, parameters: DecodeParameters, stages: Stages
    ) -> Detections | Classification:
        view = heads.fit(model, image.shape[:2])
        with self.engine.slot(model) as slot:
            with stages("letterbox"):
                fill(slot.input, view, image, model)
            with stages("inference"):
                outputs = slot.infer()
            with stages("postprocess"):
                return heads.decode_fully(
                    model, outputs, parameters, view, lambda raw: slot.infer(raw.outputs)
                )

    def _run_sliced(
        self,
        model: Model,
        image: Pixels,
        parameters: DecodeParameters,
        asked: Slicing,
        stages: Stages,
    ) -> Detections:
        check_task(model.task)
        check_tiles(asked, image.shape[:2], model.imgsz, self.max_tiles)
        return slicing.run(self.engine, model, image, parameters, asked, stages, self.tile_batch)

    def _image(self, prediction: Prediction) -> bytes:
        if prediction.image_url:
            return self.fetch(prediction.image_url)
        data = self.blobs.get(input_key(prediction.id, prediction.digest))
        if data is None:
            raise ImageExpired(
                "the image was removed before a worker could read it; submit it again"
            )
        return data


def _by_one_version(name: str, attempt: Callable[[], T]) -> T:
    """Return what `attempt` returns. If the version is replaced meanwhile, the new one is tried."""
    for _ in range(_MAX_REPLACEMENTS):
        with suppress(ModelReplaced):
            return attempt()
    raise ModelReplaced(f"model {name!r} is being replaced again and again")


def _decode_parameters(model: Model, parameters: Parameters) -> DecodeParameters:
    """Raises InvalidInput where the model has no such class."""
    return DecodeParameters(
        confidence=parameters.confidence,
        iou=parameters.iou,
        max_detections=parameters.max_detections,
        classes=model.class_ids(parameters.classes),
        class_agnostic=parameters.class_agnostic,
    )
