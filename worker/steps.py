"""The work of an ensemble's steps, with the worker's own functions. Triton runs it.

`worker/triton_steps.py` ties the steps to Triton. The packages here are those that Triton's Python
needs: numpy, OpenCV, Pillow, and for drawings pymupdf-fonts and anyascii.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from sluice.models import Layout, Model
from sluice.vision import heads
from sluice.vision.canvas import fill
from sluice.vision.ensemble import Answer, Request
from worker.annotate import annotate
from worker.decode import decode
from worker.output import describe

if TYPE_CHECKING:  # needs pydantic
    from sluice.prediction import OutputFormat

_DTYPES: Mapping[str, type[Any]] = {"UINT8": np.uint8, "FP16": np.float16, "FP32": np.float32}


@dataclass(frozen=True)
class Facts:
    """The message of the first step to the last one."""

    source_hw: tuple[int, int]
    """The upright image's (height, width) in pixels."""
    seconds: Mapping[str, float]
    """The stages' times so far, by the names of `metrics`."""
    ended_at: float
    """The end of the first step, by the clock that all processes of this machine share."""

    def encoded(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def parse(cls, data: bytes) -> "Facts":
        values = json.loads(data)
        return cls(**values | {"source_hw": tuple(values["source_hw"])})


class Prepare:
    """The first step: from an image's file to the canvas of the network `model`."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._shape = (*model.leading, *model.input_dims)
        # The step refuses what it can't fill; any type serves until then.
        self._dtype = _DTYPES.get(model.input.dtype, np.int32)

    def run(self, image: bytes, request: Request) -> tuple[npt.NDArray[Any], Facts]:
        """Return the canvas with its batch axis, and the facts.

        Raises InvalidInput or a subclass.
        """
        seconds: dict[str, float] = {}
        with _timed(seconds, "decode"):
            pixels = decode(image, request.max_pixels)
        with _timed(seconds, "letterbox"):
            canvas = np.zeros(self._shape, self._dtype)
            view = heads.fit(self._model, pixels.shape[:2])
            fill(canvas[0] if self._model.leading else canvas, view, pixels, self._model)
        return canvas, Facts(pixels.shape[:2], seconds, time.monotonic())


class Finish:
    """The last step: from the outputs of the network `model` to detections, and a drawing."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def run(
        self,
        request: Request,
        facts: Facts,
        image: bytes,
        outputs: Sequence[npt.NDArray[Any]],
    ) -> Answer:
        """Return the answer. `outputs` are in the model's order, with their batch axis.

        For a drawing the file `image` is decoded again: its pixels may be larger than the memory
        that Triton shares with its steps.
        Raises UnsupportedModel where an output misfits the description.
        """
        model = self._model
        seconds = {**facts.seconds}
        seconds["inference_time"] = round(time.monotonic() - facts.ended_at, 6)
        with _timed(seconds, "postprocess"):
            named = {
                output.name: self._of_first_image(array)
                for output, array in zip(model.outputs, outputs, strict=True)
            }
            view = heads.fit(model, facts.source_hw)
            result = heads.decode_fully(model, named, request.decoding, view, lambda _: named)
            output = describe(request.id, result, model.names, facts.source_hw)
        drawing = b""
        if request.draw:
            with _timed(seconds, "annotate"):
                pixels = decode(image, request.max_pixels)
                drawing = annotate(pixels, output, model.task, cast("OutputFormat", request.draw))
        return Answer(output, seconds, drawing)

    def _of_first_image(self, output: npt.NDArray[Any]) -> npt.NDArray[Any]:
        rows = self._model.layout is Layout.ROWS
        return output[0] if self._model.leading and not rows else output


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[f"{stage}_time"] = round(time.perf_counter() - start, 6)
