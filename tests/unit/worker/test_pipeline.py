"""The path of one image, with an engine that finds one box in every image."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from sluice.blobs.store import input_key
from sluice.errors import (
    ImageExpired,
    ImageTooLarge,
    InferenceFailed,
    InvalidInput,
    NotAnImage,
    TooManyTiles,
    TritonUnavailable,
    UnknownModel,
    UnsupportedModel,
)
from sluice.models import Layout, Task, Tensor
from sluice.prediction import Parameters, Prediction, Status
from sluice.vision.triton.errors import ModelReplaced
from tests.unit.worker.conftest import World, model, png
from worker.stages import Stages

STAGES = {
    "fetch_time",
    "decode_time",
    "letterbox_time",
    "inference_time",
    "postprocess_time",
    "predict_time",
}


def _prediction(**parameters: object) -> Prediction:
    return Prediction(
        id="a",
        model="codes",
        status=Status.PROCESSING,
        parameters=Parameters(**parameters),
        created_at=0,
    )


def test_boxes_are_mapped_to_the_source(world: World) -> None:
    """128 x 64 on a canvas of 64 x 64: half the size, 16 rows of grey above."""
    world.submit()
    stages = Stages()
    output = world.pipeline.run(_prediction(), stages)
    assert output == {
        "image": {"width": 128, "height": 64},
        "predictions": [
            {
                "x": 64.0,
                "y": 32.0,
                "width": 64.0,
                "height": 32.0,
                "confidence": 0.9,
                "class": "dog",
                "class_id": 1,
                "detection_id": "a-0",
            }
        ],
    }
    assert set(stages.seconds) == STAGES


@pytest.mark.parametrize(
    ("dtype", "dims", "one"),
    [
        ("UINT8", (64, 64, 3), 255),
        ("UINT8", (3, 64, 64), 255),
        ("FP32", (3, 64, 64), 1),
        ("FP32", (64, 64, 3), 1),
        ("FP16", (3, 64, 64), 1),
    ],
)
def test_the_canvas_is_rgb_in_the_models_own_form(
    world: World, dtype: str, dims: tuple[int, ...], one: float
) -> None:
    world.engine.loaded = model(dtype, dims)
    world.submit()
    world.pipeline.run(_prediction(), Stages())
    (seen,) = world.engine.seen
    canvas = seen if dims[-1] == 3 else seen.transpose(1, 2, 0)
    np.testing.assert_allclose(canvas[4, 4], np.full(3, 114 / 255 * one), rtol=1e-3)
    np.testing.assert_allclose(canvas[24, 32], [one, 0, 0], atol=1e-3)
    np.testing.assert_allclose(canvas[40, 32], [0, 0, one], atol=1e-3)


def test_an_unsupported_dtype_is_refused(world: World) -> None:
    world.engine.loaded = model("INT32")
    world.submit()
    with pytest.raises(UnsupportedModel, match="INT32"):
        world.pipeline.run(_prediction(), Stages())


def test_every_parameter_has_its_effect(world: World) -> None:
    world.submit()
    run = world.pipeline.run
    assert len(run(_prediction(confidence=0.05), Stages())["predictions"]) == 2
    assert [
        x["class"]
        for x in run(_prediction(confidence=0.05, classes=("cat",)), Stages())["predictions"]
    ] == ["cat"]
    assert [
        x["class"] for x in run(_prediction(confidence=0.05, classes=(1,)), Stages())["predictions"]
    ] == ["dog"]
    assert len(run(_prediction(confidence=0.05, max_detections=1), Stages())["predictions"]) == 1
    assert run(_prediction(confidence=0.95), Stages())["predictions"] == []
    with pytest.raises(InvalidInput, match="it has cat, dog"):
        run(_prediction(classes=("cow",)), Stages())


def test_visualize_stores_a_drawing_before_the_result_is_recorded(world: World) -> None:
    world.submit()
    stages = Stages()
    world.pipeline.run(_prediction(visualize=True), stages)
    stored = world.blobs.get("a/annotated")
    assert stored is not None
    drawn = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape == (64, 128, 3)
    plain = cv2.imdecode(np.frombuffer(png(), np.uint8), cv2.IMREAD_COLOR)
    changed = np.abs(drawn.astype(int) - plain).max(axis=2) > 60
    assert changed[32, 30:34].any(), "the box's left edge"
    assert not changed[56:, 110:].any(), "far from it"
    assert set(stages.seconds) == STAGES | {"annotate_time"}


def test_each_failure_has_its_own_error(world: World) -> None:
    with pytest.raises(ImageExpired):
        world.pipeline.run(_prediction(), Stages())
    world.submit(image=b"no image")
    with pytest.raises(NotAnImage):
        world.pipeline.run(_prediction(), Stages())
    world.blobs.put(input_key("a", ""), png(2000, 1000), 60)
    with pytest.raises(ImageTooLarge):
        world.pipeline.run(_prediction(), Stages())
    world.blobs.put(input_key("a", ""), png(), 60)
    with pytest.raises(UnknownModel):
        world.pipeline.run(_prediction().model_copy(update={"model": "other"}), Stages())
    world.engine.errors = [InferenceFailed("out of memory")]
    stages = Stages()
    with pytest.raises(InferenceFailed):
        world.pipeline.run(_prediction(), stages)
    assert {"inference_time", "predict_time"} <= set(stages.seconds), (
        "the time until a failure counts too"
    )


def test_a_replaced_model_runs_again_from_the_start(world: World) -> None:
    world.submit()
    world.engine.errors = [ModelReplaced("replaced")] * 2
    output = world.pipeline.run(_prediction(), Stages())
    assert [entry["class"] for entry in output["predictions"]] == ["dog"]


def test_a_model_replaced_again_and_again_is_tried_later(world: World) -> None:
    world.submit()
    world.engine.errors = [ModelReplaced("replaced")] * 100
    with pytest.raises(TritonUnavailable, match="again and again"):
        world.pipeline.run(_prediction(), Stages())
    assert len(world.engine.errors) == 95


class TestCandidates:
    """Two candidates of three rows; the canvas's scale is one half."""

    CANDIDATES = np.array([[32, 32, 8, 8, 0.9, 0], [32, 33, 8, 8, 0.8, 0]], np.float32)
    RAW = np.array([[32, 32, 16], [32, 33, 32], [8, 8, 8], [8, 8, 8], [0.9, 0.8, 0], [0, 0, 0.7]])

    def found(self, world: World, **parameters: object) -> list[float]:
        world.submit()
        world.engine.loaded = replace(
            model(),
            layout=Layout.CANDIDATES,
            outputs=(Tensor("candidates", "FP32", (2, 6)), Tensor("raw", "FP32", (6, 3))),
            raw_layout=Layout.ANCHOR_FREE,
            raw_output="raw",
        )
        world.engine.answers = [
            {"candidates": self.CANDIDATES},
            {"raw": self.RAW.astype(np.float32)},
        ]
        output = world.pipeline.run(_prediction(**parameters), Stages())
        return [entry["confidence"] for entry in output["predictions"]]

    def test_all_rows_are_read_where_candidates_may_be_missing(self, world: World) -> None:
        assert self.found(world) == [0.9, 0.7]
        assert len(world.engine.seen) == 2

    @pytest.mark.parametrize("parameters", [{"confidence": 0.85}, {"max_detections": 1}])
    def test_candidates_are_enough_where_no_row_can_be_missing(
        self, world: World, parameters: dict[str, object]
    ) -> None:
        assert self.found(world, **parameters) == [0.9]
        assert len(world.engine.seen) == 1


def test_an_image_of_too_many_tiles_is_refused(world: World) -> None:
    """An image by URL was not checked at its submission."""
    world.submit(image=png(640, 640))
    pipeline = replace(world.pipeline, max_tiles=20)
    with pytest.raises(TooManyTiles):
        pipeline.run(_prediction(slice=True), Stages())
    assert world.engine.batches == []


def test_a_task_without_boxes_is_not_sliced(world: World) -> None:
    world.engine.loaded = replace(model(), task=Task.CLASSIFY)
    world.submit()
    with pytest.raises(InvalidInput, match="tiles are for"):
        world.pipeline.run(_prediction(slice=True), Stages())


def test_a_sliced_prediction_counts_its_tiles(world: World) -> None:
    world.submit()
    stages = Stages()
    output = world.pipeline.run(_prediction(slice={"overlap": 0.0, "whole": False}), stages)
    assert stages.metrics["tiles"] == 2
    assert [entry["x"] for entry in output["predictions"]] == [32.0, 96.0]
