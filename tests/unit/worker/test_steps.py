"""The steps of an ensemble give what a worker gives by its own way. No Triton runs here."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sluice.errors import ImageTooLarge, NotAnImage, TruncatedImage, UnsupportedModel
from sluice.models import Layout, Model, Task, Tensor
from sluice.prediction import Parameters, Prediction, Status
from sluice.vision.ensemble import Request
from tests.unit.worker.conftest import World, model, png
from worker.stages import Stages
from worker.steps import Facts, Finish, Prepare

FOUND = np.array([[16, 24, 48, 40, 0.9, 1], [0, 0, 8, 8, 0.1, 0]], np.float32)


def _finish(model: Model, request: Request, *outputs: npt.NDArray[Any]) -> dict[str, Any]:
    _, facts = Prepare(model).run(png(), request)
    return Finish(model).run(request, Facts.parse(facts.encoded()), png(), outputs).output


@pytest.mark.parametrize("parameters", [{}, {"confidence": 0.05}, {"classes": (1,)}])
def test_the_output_is_that_of_a_worker(world: World, parameters: dict[str, Any]) -> None:
    world.submit()
    prediction = Prediction(
        id="a",
        model="codes",
        status=Status.PROCESSING,
        parameters=Parameters(**parameters),
        created_at=0,
    )
    expected = world.pipeline.run(prediction, Stages())
    assert _finish(model(), Request(id="a", **parameters), FOUND[None]) == expected


@pytest.mark.parametrize(
    ("dtype", "dims"),
    [("UINT8", (64, 64, 3)), ("FP32", (3, 64, 64)), ("FP16", (3, 64, 64)), ("UINT8", (64, 64, 1))],
)
@pytest.mark.parametrize("batched", [True, False])
def test_the_canvas_is_that_of_a_worker(
    world: World, dtype: str, dims: tuple[int, ...], batched: bool
) -> None:
    fixed = 0 if batched else 3
    described = replace(model(dtype, dims), batched=batched, fixed_batch=fixed)
    canvas, facts = Prepare(described).run(png(), Request())
    assert canvas.shape == (1 if batched else 3, *dims)
    assert facts.source_hw == (64, 128)
    world.engine.loaded = described
    world.submit()
    prediction = Prediction(
        id="a", model="codes", status=Status.PROCESSING, parameters=Parameters(), created_at=0
    )
    world.pipeline.run(prediction, Stages())
    np.testing.assert_array_equal(canvas[0], world.engine.seen[0])
    assert not canvas[1:].any()


def test_a_drawing_is_made_where_it_is_asked_for() -> None:
    request = Request(draw="png")
    _, facts = Prepare(model()).run(png(), request)
    answer = Finish(model()).run(request, facts, png(), [FOUND[None]])
    assert answer.drawing[:4] == b"\x89PNG"
    assert set(json.loads(answer.encoded())["seconds"]) == {
        "decode_time",
        "letterbox_time",
        "inference_time",
        "postprocess_time",
        "annotate_time",
    }


def test_the_raw_output_is_read_where_candidates_do_not_suffice() -> None:
    """Both candidates are one object; the raw output has another one."""
    candidates = np.array([[32, 32, 16, 16, 0.9, 0], [32, 32, 16, 16, 0.8, 0]], np.float32)
    raw = np.array([[32, 32, 16, 16, 0.9, 0], [8, 24, 8, 8, 0, 0.7]], np.float32).T
    described = replace(
        model(),
        layout=Layout.CANDIDATES,
        outputs=(Tensor("candidates", "FP32", (2, 6)), Tensor("all", "FP32", (6, 2))),
        raw_layout=Layout.ANCHOR_FREE,
        raw_output="all",
    )
    found = _finish(described, Request(), candidates[None], raw[None])["predictions"]
    assert [entry["confidence"] for entry in found] == [0.9, 0.7]
    sure = _finish(described, Request(confidence=0.85), candidates[None], raw[None])["predictions"]
    assert [entry["confidence"] for entry in sure] == [0.9]


def test_rows_of_all_images_are_kept_together() -> None:
    described = replace(
        model(),
        layout=Layout.ROWS,
        batched=False,
        fixed_batch=1,
        outputs=(Tensor("rows", "FP32", (-1, 7)),),
    )
    rows = np.array([[0, 16, 24, 48, 40, 1, 0.9], [0, 0, 20, 8, 28, 0, 0.8]], np.float32)
    found = _finish(described, Request(), rows)["predictions"]
    assert [entry["class"] for entry in found] == ["dog", "cat"]


def test_a_classifier_gives_classes() -> None:
    described = replace(model(), task=Task.CLASSIFY, outputs=(Tensor("scores", "FP32", (2,)),))
    output = _finish(described, Request(), np.array([[0.2, 0.8]], np.float32))
    assert output["top"] == "dog"


@pytest.mark.parametrize(
    ("image", "request_", "kind"),
    [
        (b"no image", Request(), NotAnImage),
        (png()[:-20], Request(), TruncatedImage),
        (png(), Request(max_pixels=100), ImageTooLarge),
    ],
)
def test_a_bad_image_is_refused_as_a_worker_does(
    image: bytes, request_: Request, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        Prepare(model()).run(image, request_)


def test_an_input_that_can_not_be_filled_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="INT32"):
        Prepare(model("INT32")).run(png(), Request())
