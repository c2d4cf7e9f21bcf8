"""One inference through Triton, in the way of a worker."""

import time

import cv2
import numpy as np

from sluice.errors import RepositoryError, SluiceError
from sluice.models import Model, Recipe
from sluice.vision import heads
from sluice.vision.ensemble import Request
from sluice.vision.letterbox import PADDING
from sluice.vision.triton.client import Triton
from sluice.vision.triton.ensemble import predict

_TIMEOUT_S = 60.0  # the first inference of a graph may prepare much
_POLL_S = 0.05
_GREY = cv2.imencode(".png", np.full((8, 8, 3), PADDING, np.uint8))[1].tobytes()


def run(grpc_url: str, name: str, version: int) -> None:
    """Have the Triton at `grpc_url` run a grey image through a version that it has loaded.

    Raises RepositoryError where Triton runs another version, or its outputs can't be decoded.
    """
    triton = Triton(grpc_url, timeout_s=_TIMEOUT_S, shared_memory=False, models_ttl_s=0)
    try:
        model = _loaded(triton, name, str(version))
        if model.recipe is Recipe.ENSEMBLE:
            predict(triton, model, _GREY, Request(confidence=0.001, draw="jpg"))
            return
        view = heads.fit(model, model.imgsz)
        with triton.slot(model) as slot:
            slot.input[...] = PADDING if model.input.dtype == "UINT8" else 0.5
            outputs = slot.infer()
            heads.decode(model, outputs, heads.DecodeParameters(confidence=0.001), view)
    except SluiceError as error:
        reason = error.__cause__ or error.message
        raise RepositoryError(
            f"version {version} of {name!r} is loaded in the Triton at {grpc_url},"
            f" and fails there: {str(reason).strip().partition(chr(10))[0]}"
        ) from error
    finally:
        triton.close()


def _loaded(triton: Triton, name: str, version: str) -> Model:
    """Wait until Triton describes this version; after a change it names the old one at first."""
    end = time.monotonic() + _TIMEOUT_S
    while True:
        model = triton.model(name)
        if model.version == version:
            return model
        if time.monotonic() > end:
            raise RepositoryError(f"Triton runs version {model.version or 'unknown'}")
        time.sleep(_POLL_S)
