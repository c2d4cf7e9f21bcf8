"""The way of one image: bytes, pixels, canvas, Triton, head, output. Knows no queue and no ledger."""

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
from sluice.prediction import Prediction
from sluice.vision import heads
from sluice.vision.triton import Slot
from worker.annotate import annotate
from worker.decode import decode
from worker.output import describe


class Engine(Protocol):
    """What the pipeline needs of Triton; `sluice.triton.Triton` is the real one."""

    def model(self, name: str) -> Model: ...

    def slot(self, model: Model) -> AbstractContextManager[Slot]: ...


class Stages:
    """Seconds spent in each stage, by the stage's name with `_time`, as the prediction's `metrics`.

    `check` is called before each stage, and raises where there is no more use in going on.
    """

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        self.seconds: dict[str, float] = {}
        self._check = check

    def text(self) -> str:
        """The stages so far on one line."""
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
    """Runs predictions, several at a time on threads. `fetch` gets the bytes at a URL, see `sluice.fetch`."""

    blobs: Blobs
    engine: Engine
    max_pixels: int
    annotated_ttl_s: int
    fetch: Callable[[str], bytes]

    def run(self, prediction: Prediction, stages: Stages) -> dict[str, Any]:
        """The prediction's output. With `visualize`, the annotated image is stored before this returns.

        Raises ImageExpired, InvalidInput and its kin, InferenceFailed, or Unavailable, which may pass.
        """
        with stages("predict"):
            with stages("fetch"):
                if prediction.image_url:
                    data: bytes | None = self.fetch(prediction.image_url)
                else:
                    data = self.blobs.get(input_key(prediction.id, prediction.digest))
            if data is None:
                raise ImageExpired(
                    "the image was removed before a worker could read it; submit it again"
                )
            with stages("decode"):
                image = decode(data, self.max_pixels)
            model = self.engine.model(prediction.model)
            asked = prediction.parameters
            ids = model.class_ids(asked.classes)
            parameters = heads.DecodeParameters(
                asked.confidence, asked.iou, asked.max_detections, ids, asked.class_agnostic
            )
            view = heads.fit(model, image.shape[:2])
            with self.engine.slot(model) as slot:
                with stages("letterbox"):
                    _fill(slot.input, view, image, model)
                with stages("inference"):
                    outputs = slot.infer()
                with stages("postprocess"):
                    result = heads.decode(model, outputs, parameters, view)
                    output = describe(prediction.id, result, model.names, image.shape[:2])
            if asked.visualize:
                with stages("annotate"):
                    self.blobs.put(
                        annotated_key(prediction.id), annotate(image, output), self.annotated_ttl_s
                    )
        return output


def _fill(target: npt.NDArray[Any], view: Any, image: npt.NDArray[np.uint8], model: Model) -> None:
    """Draw the canvas into the model's input: bytes as they are where it takes them, else 0 to 1."""
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
