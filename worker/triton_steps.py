"""The steps of an ensemble as models of Triton's Python backend.

`sluice models add --ensemble` writes a `model.py` that takes its class from here. Triton runs each
instance in a process of its own, and gives it one call at a time.
"""

import json
from abc import ABC, abstractmethod
from typing import Any

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils

from sluice import model_config
from sluice.errors import SluiceError
from sluice.models import Model
from sluice.vision.ensemble import Request, message_of
from worker.steps import Facts, Finish, Prepare


class _Step(ABC):
    """One instance of a step."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the network's description, which is a parameter of the step."""
        # The instances run side by side, on cores that the network shares.
        cv2.setNumThreads(1)
        config = json.loads(args["model_config"])
        described = config["parameters"]["sluice.model"]["string_value"]
        self.open(model_config.read(json.loads(described)))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return one response for each request, in their order."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        if request.is_cancelled():
            return _failure("canceled by the client", pb_utils.TritonError.CANCELLED)
        try:
            return pb_utils.InferenceResponse(
                [pb_utils.Tensor(name, array) for name, array in self.run(request).items()]
            )
        except SluiceError as error:
            return _failure(message_of(error), pb_utils.TritonError.INVALID_ARG)
        except Exception as error:
            pb_utils.Logger.log_error(f"a step failed: {error!r}")
            return _failure(f"{type(error).__name__}: {error}", pb_utils.TritonError.INTERNAL)

    @abstractmethod
    def open(self, model: Model) -> None:
        """Make the step for the network `model`."""

    @abstractmethod
    def run(self, request: Any) -> dict[str, Any]:
        """Return the outputs by name."""


class PrepareModel(_Step):
    """The step `prepare`."""

    def open(self, model: Model) -> None:
        self._step = Prepare(model)

    def run(self, request: Any) -> dict[str, Any]:
        image, parameters = _bytes(request, "image"), _bytes(request, "request")
        canvas, facts = self._step.run(image, Request.parse(parameters))
        return {"canvas": canvas, "facts": _tensor(facts.encoded())}


class FinishModel(_Step):
    """The step `finish`."""

    def open(self, model: Model) -> None:
        self._step = Finish(model)
        self._outputs = [f"output_{number}" for number in range(len(model.outputs))]

    def run(self, request: Any) -> dict[str, Any]:
        answer = self._step.run(
            Request.parse(_bytes(request, "request")),
            Facts.parse(_bytes(request, "facts")),
            _bytes(request, "image"),
            [_array(request, name) for name in self._outputs],
        )
        return {"result": _tensor(answer.encoded()), "drawing": _tensor(answer.drawing)}


def _array(request: Any, name: str) -> Any:
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()


def _bytes(request: Any, name: str) -> bytes:
    data: bytes = _array(request, name).tobytes()
    return data


def _tensor(data: bytes) -> Any:
    """A tensor of bytes; a space in place of none, since Triton's Python keeps no empty tensor."""
    return np.frombuffer(data or b" ", np.uint8)


def _failure(message: str, code: Any) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
