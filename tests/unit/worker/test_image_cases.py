"""The cases of images that users sent, in this process: header, pixels, or the reason.

The cases lie outside the repository, in ../shared/cases. SLUICE_CASES names another place.
"""

import json
from typing import Any

import numpy as np
import pytest

from api.errors import STATUSES
from sluice.errors import SluiceError
from sluice.images import inspect
from tests.support.paths import CASES, NO_CASES
from worker.decode import decode

MAX_PIXELS = 50_000_000


def _cases() -> list[Any]:
    """The cases whose request is one image to the detector; the model sees the same pixels."""
    if NO_CASES:
        return [pytest.param(None, marks=pytest.mark.skip(reason=NO_CASES))]
    found = []
    for case in json.loads((CASES / "cases.json").read_text())["cases"]:
        request = case.get("request") or {}
        is_image = set(request.get("body") or {}) == {"file"}
        if is_image and request["path"].startswith("/v1/predictions?model=codes"):
            found.append(pytest.param(case, id=case["id"]))
    return found


@pytest.mark.parametrize("case", _cases())
def test_an_image_has_the_right_pixels_or_the_right_reason(case: dict[str, Any]) -> None:
    data = (CASES / case["request"]["body"]["file"]).read_bytes()
    answer = _answer(data)
    ways = case["right"].get("any", [case["right"]])
    assert any(_is_right(answer, way) for way in ways), (answer, ways)


def _answer(data: bytes) -> tuple[str, Any]:
    """`refused` at submission or `failed` in the worker with the error, or the pixels."""
    stage = "refused"
    try:
        inspect(data, MAX_PIXELS)
        stage = "failed"
        return "succeeded", decode(data, MAX_PIXELS)
    except SluiceError as error:
        return stage, error


def _is_right(answer: tuple[str, Any], way: dict[str, Any]) -> bool:
    stage, result = answer
    if stage == "succeeded":
        return way.get("prediction") == stage and _is_picture(result, way)
    if stage == "refused":
        right = STATUSES[type(result)] in way.get("status", ())
    else:
        right = way.get("prediction") == stage
    text = result.message.lower()
    words = way.get("says_any", [])
    return (
        right
        and result.code in way.get("code", [result.code])
        and (not words or any(word in text for word in words))
        and not any(word in text for word in way.get("says_not", ()))
    )


def _is_picture(pixels: np.ndarray, way: dict[str, Any]) -> bool:
    if "image" in way and [pixels.shape[1], pixels.shape[0]] != way["image"]:
        return False
    like, tolerance = way.get("same_as"), 0
    if "pixels" in way:
        like, tolerance = way["pixels"]["like"], way["pixels"]["mean_diff"]
    if like is None:
        return True
    twin = decode((CASES / like).read_bytes(), MAX_PIXELS).astype(np.int16)
    return pixels.shape == twin.shape and np.abs(pixels - twin).mean() <= tolerance
