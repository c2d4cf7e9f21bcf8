"""The path of an image of an ensemble. The steps run in this process, in the place of Triton."""

from dataclasses import replace

import pytest

from sluice.errors import InferenceFailed, InvalidInput, NotAnImage, TruncatedImage, UnknownModel
from sluice.models import Recipe, Tensor
from sluice.prediction import Parameters, Prediction, Status
from sluice.vision.ensemble import Request, message_of
from sluice.vision.triton.errors import ModelReplaced
from tests.unit.worker.conftest import World, model
from worker import in_triton
from worker.stages import Stages


@pytest.fixture
def world(world: World) -> World:
    files = Tensor("image", "UINT8", (-1,))
    world.engine.ensemble = replace(
        model(), name="whole", input=files, recipe=Recipe.ENSEMBLE, network="codes"
    )
    world.submit()
    return world


def _prediction(name: str = "whole", **parameters: object) -> Prediction:
    return Prediction(
        id="a",
        model=name,
        status=Status.PROCESSING,
        parameters=Parameters(**parameters),
        created_at=0,
    )


def test_the_output_is_that_of_the_workers_own_way(world: World) -> None:
    stages = Stages()
    output = world.pipeline.run(_prediction(), stages)
    assert output == world.pipeline.run(_prediction("codes"), Stages())
    assert output["predictions"][0]["detection_id"] == "a-0"
    assert set(stages.seconds) == {
        "fetch_time",
        "triton_time",
        "decode_time",
        "letterbox_time",
        "inference_time",
        "postprocess_time",
        "predict_time",
    }


def test_every_parameter_reaches_the_ensemble(world: World) -> None:
    parameters = {"confidence": 0.05, "iou": 0.6, "max_detections": 7, "class_agnostic": True}
    output = world.pipeline.run(_prediction(classes=("dog",), **parameters), Stages())
    assert world.engine.requests == [
        Request(id="a", classes=(1,), max_pixels=1_000_000, **parameters)  # type: ignore[arg-type]
    ]
    assert [entry["class"] for entry in output["predictions"]] == ["dog"]
    with pytest.raises(InvalidInput, match="it has cat, dog"):
        world.pipeline.run(_prediction(classes=("cow",)), Stages())


def test_a_drawing_is_stored_before_the_result_is_recorded(world: World) -> None:
    stages = Stages()
    world.pipeline.run(_prediction(visualize=True, output_format="png"), stages)
    own = world.pipeline
    stored = own.blobs.get("a/annotated")
    assert stored is not None
    assert stored[:4] == b"\x89PNG"
    assert stages.seconds["annotate_time"] > 0
    own.run(_prediction("codes", visualize=True, output_format="png"), Stages())
    assert own.blobs.get("a/annotated") == stored


def test_an_error_of_a_step_is_that_of_the_worker(world: World) -> None:
    text = f"model 'whole' failed: {message_of(TruncatedImage('cut'))}"
    world.engine.errors = [InferenceFailed(text)]
    with pytest.raises(TruncatedImage, match=r"^cut$"):
        world.pipeline.run(_prediction(), Stages())
    world.engine.errors = [InferenceFailed("model 'whole' failed: out of memory")]
    with pytest.raises(InferenceFailed, match="out of memory"):
        world.pipeline.run(_prediction(), Stages())


def test_an_empty_file_is_no_image(world: World) -> None:
    world.submit("b", image=b"")
    with pytest.raises(NotAnImage, match="0 bytes"):
        world.pipeline.run(replace_id(_prediction(), "b"), Stages())


def replace_id(prediction: Prediction, prediction_id: str) -> Prediction:
    return prediction.model_copy(update={"id": prediction_id})


def test_a_version_that_is_replaced_runs_again_as_the_new_one(world: World) -> None:
    world.engine.errors = [ModelReplaced("replaced")]
    assert world.pipeline.run(_prediction(), Stages())["predictions"]
    assert len(world.engine.requests) == 2
    world.engine.errors = [ModelReplaced("replaced")] * 100
    with pytest.raises(ModelReplaced, match="again and again"):
        world.pipeline.run(_prediction(), Stages())


def test_canvases_go_to_the_network(world: World) -> None:
    engine = world.engine
    assert in_triton.with_canvas(engine, "codes") == engine.loaded
    assert in_triton.with_canvas(engine, "whole") == engine.loaded
    assert engine.ensemble is not None
    engine.ensemble = replace(engine.ensemble, network="gone")
    with pytest.raises(ModelReplaced):
        in_triton.with_canvas(engine, "whole")
    with pytest.raises(UnknownModel):
        in_triton.with_canvas(engine, "other")
