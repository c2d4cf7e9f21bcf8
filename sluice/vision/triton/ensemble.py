"""One prediction by an ensemble: the image's file goes to Triton, and the result comes back."""

from typing import Any

import numpy as np
import tritonclient.grpc as grpcclient

from sluice.errors import InferenceFailed
from sluice.models import Model
from sluice.vision.ensemble import Answer, Request, error_in
from sluice.vision.triton.slots import Server


def predict(server: Server, model: Model, image: bytes, request: Request) -> Answer:
    """Run an ensemble on the bytes of an image's file.

    Raises ModelReplaced, TritonUnavailable, DeadlineExceeded, UnknownModel or InferenceFailed.
    Raises InvalidInput or a subclass where a step refuses the image, as the worker does.
    """
    inputs = [_tensor("image", image), _tensor("request", request.encoded())]
    names = ["result", "drawing"] if request.draw else ["result"]
    try:
        answer = server.infer(model, inputs, [grpcclient.InferRequestedOutput(n) for n in names])
    except InferenceFailed as error:
        if refused := error_in(error.message):
            raise refused from error
        raise
    drawing = answer.as_numpy("drawing").tobytes() if request.draw else b""
    return Answer.parse(answer.as_numpy("result").tobytes(), drawing)


def _tensor(name: str, data: bytes) -> Any:
    array = np.frombuffer(data, np.uint8)
    tensor = grpcclient.InferInput(name, [array.size], "UINT8")
    tensor.set_data_from_numpy(array)
    return tensor
