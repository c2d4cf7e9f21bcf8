"""The path of one image: bytes, pixels, canvas, Triton, head, output. No queue, no ledger."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sluice.blobs.store import Blobs, annotated_key, input_key
from sluice.errors import ImageExpired, UnsupportedModel
from sluice.models import Model
from sluice.prediction import Parameters, Prediction
from sluice.vision import heads
from sluice.vision.letterbox import CentreCrop, Letterbox
from sluice.vision.triton import Slot
from worker.annotate import annotate
from worker.decode import decode
from worker.output import describe


class Engine(Protocol):
    """The part of `sluice.vision.triton.Triton` that the pipeline needs."""

    def model(self, name: str) -> Model:
        """Return the loaded model. Raises UnknownModel, UnsupportedModel or Unavailable."""

    def slot(self, model: Model) -> AbstractContextManager[Slot]:
        """Reserve the memory of one inference."""


class Stages:
    """A stopwatch for the stages of one attempt.

    `check` is called before each stage. `check` raises where the attempt must not go on.
    """

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        #: The prediction's `metrics`: seconds by the stage's name and `_time`.
        self.seconds: dict[str, float] = {}
        self._check = check

    def text(self) -> str:
        """Return the stages so far, on one line, in milliseconds."""
        stages = {name.removesuffix("_time"): seconds for name, seconds in self.seconds.items()}
        return ", ".join(f"{name} {seconds * 1000:.1f} ms" for name, seconds in stages.items())

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._check()
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[f"{name}_time"] = round(time.perf_counter() - start, 6)


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

    def run(self, prediction: Prediction, stages: Stages) -> dict[str, Any]:
        """Return the prediction's output. With `visualize`, the annotated image is stored first.

        Raises ImageExpired, InvalidInput or a subclass, InferenceFailed, or Unavailable.
        """
        with stages("predict"):
            with stages("fetch"):
                data = self._image(prediction)
            with stages("decode"):
                image = decode(data, self.max_pixels)
            model = self.engine.model(prediction.model)
            parameters = _decode_parameters(model, prediction.parameters)
            view = heads.fit(model, image.shape[:2])
            with self.engine.slot(model) as slot:
                with stages("letterbox"):
                    _fill(slot.input, view, image, model)
                with stages("inference"):
                    outputs = slot.infer()
                with stages("postprocess"):
                    result = heads.decode(model, outputs, parameters, view)
                    output = describe(prediction.id, result, model.names, image.shape[:2])
            if prediction.parameters.visualize:
                with stages("annotate"):
                    drawing = annotate(image, output)
                    self.blobs.put(annotated_key(prediction.id), drawing, self.annotated_ttl_s)
        return output

    def _image(self, prediction: Prediction) -> bytes:
        if prediction.image_url:
            return self.fetch(prediction.image_url)
        data = self.blobs.get(input_key(prediction.id, prediction.digest))
        if data is None:
            raise ImageExpired(
                "the image was removed before a worker could read it; submit it again"
            )
        return data


def _decode_parameters(model: Model, parameters: Parameters) -> heads.DecodeParameters:
    """Raises InvalidInput where the model has no such class."""
    return heads.DecodeParameters(
        confidence=parameters.confidence,
        iou=parameters.iou,
        max_detections=parameters.max_detections,
        classes=model.class_ids(parameters.classes),
        class_agnostic=parameters.class_agnostic,
    )


def _fill(
    target: npt.NDArray[Any],
    view: Letterbox | CentreCrop,
    image: npt.NDArray[np.uint8],
    model: Model,
) -> None:
    """Draw the canvas into the model's input: UINT8 as 0 to 255, FP16 and FP32 as 0 to 1.

    `image` is (height, width, 3) uint8 RGB. Raises UnsupportedModel for another dtype.
    """
    if target.dtype == np.uint8 and model.channels_last:
        view.apply(image, target)
        return
    canvas = view.apply(image)
    if not model.channels_last:
        canvas = canvas.transpose(2, 0, 1)
    if target.dtype == np.uint8:
        target[...] = canvas
    elif target.dtype.kind == "f":
        np.multiply(canvas, target.dtype.type(1 / 255), out=target, casting="unsafe")
    else:
        raise UnsupportedModel(
            f"model {model.name!r} takes {model.input.dtype}; Sluice sends UINT8, FP16 or FP32"
        )
