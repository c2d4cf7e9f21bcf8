"""A model's description in Triton's configuration, and the shipped configurations."""

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import model_config_pb2

from sluice import model_config
from sluice.errors import InvalidInput, UnsupportedModel
from sluice.models import Layout, Model, Recipe, Task, Tensor
from tests.support.paths import ROOT

CONFIGS = sorted((ROOT / "model_repository").glob("*/config.pbtxt"))


def _config(**changes: Any) -> dict[str, Any]:
    parameters = {
        "sluice.task": "detect",
        "sluice.layout": "anchors",
        "sluice.names": '["cat", "dog"]',
    }
    return {
        "name": "pets",
        "max_batch_size": 4,
        "input": [{"name": "images", "data_type": "TYPE_UINT8", "dims": ["320", "416", "3"]}],
        "output": [{"name": "output0", "data_type": "TYPE_FP32", "dims": [100, 7]}],
        "parameters": {
            key: {"string_value": value}
            for key, value in {**parameters, **changes.pop("parameters", {})}.items()
            if value
        },
        **changes,
    }


def test_a_complete_configuration_gives_the_model() -> None:
    model = model_config.read(_config())
    assert model == Model(
        name="pets",
        task=Task.DETECT,
        layout=Layout.ANCHORS,
        names=("cat", "dog"),
        imgsz=(320, 416),
        input=Tensor("images", "UINT8", (320, 416, 3)),
        outputs=(Tensor("output0", "FP32", (100, 7)),),
        batched=True,
        max_batch=4,
    )
    assert model.channels_last


def test_an_input_of_any_size_takes_its_size_from_the_parameters() -> None:
    images = [{"name": "images", "data_type": "TYPE_FP32", "dims": ["3", "-1", "-1"]}]
    model = model_config.read(_config(input=images, parameters={"sluice.imgsz": "[640, 480]"}))
    assert model.imgsz == (640, 480)
    assert not model.channels_last
    with pytest.raises(UnsupportedModel, match=r"sluice\.imgsz"):
        model_config.read(_config(input=images))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parameters": {"sluice.names": ""}}, "sluice.names"),
        ({"parameters": {"sluice.names": "cat, dog"}}, "must be a JSON list"),
        ({"parameters": {"sluice.names": "[]"}}, "must be a JSON list"),
        ({"parameters": {"sluice.task": "dance"}}, "dance"),
        ({"parameters": {"sluice.layout": "sideways"}}, "sideways"),
        ({"input": []}, "0 inputs"),
        ({"input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [10]}]}, "neither"),
        ({"input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [2, 320, 320]}]}, "neither"),
        ({"parameters": {"sluice.kpt_shape": "[17]"}}, "number of keypoints"),
        ({"parameters": {"sluice.kpt_shape": "[17, 4]"}}, "2 or 3"),
        ({"parameters": {"sluice.letterbox": "left"}}, "centre, corner, stretch"),
        ({"parameters": {"sluice.channel_order": "grb"}}, "rgb, bgr"),
        ({"parameters": {"sluice.pixel_max": "100"}}, "1 or 255"),
        ({"parameters": {"sluice.anchors": "[[1, 2]]"}}, r"\[width, height\]"),
    ],
)
def test_an_unsupported_configuration_names_the_model_and_the_cause(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UnsupportedModel, match=words) as caught:
        model_config.read(_config(**changes))
    assert "pets" in caught.value.message


def test_classes_are_found_by_name_or_id() -> None:
    model = model_config.read(_config())
    assert model.class_ids(None) is None
    assert model.class_ids(["dog", 0]) == (1, 0)
    assert model.class_ids([]) == ()
    for wrong in ("cow", 2, -1):
        with pytest.raises(InvalidInput, match="it has cat, dog"):
            model.class_ids([wrong])


def test_text_that_names_a_class_is_no_id() -> None:
    names = ["10", "1", "3", "lid", "lid", "2"]
    model = model_config.read(_config(parameters={"sluice.names": json.dumps(names)}))
    assert model.class_ids(["1", "10"]) == (1, 0)
    assert model.class_ids([1, 3]) == (1, 3), "a number is an id"
    assert model.class_ids(["0", "4"]) == (0, 4), "no class has this name"
    assert model.class_ids(["lid", 4]) == (3, 4), "a name stands for all classes of that name"
    for wrong in ("7", "-1", "1.0", "", "9" * 5000):
        with pytest.raises(InvalidInput, match="no class"):
            model.class_ids([wrong])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.parent.name)
def test_a_shipped_configuration_agrees_with_triton_sluice_and_its_files(path: Path) -> None:
    parsed = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
    assert parsed.name == path.parent.name
    model = model_config.read(MessageToDict(parsed, preserving_proto_field_name=True))
    assert list(model.names) == (path.parent / "labels.txt").read_text().split()
    assert (path.parent / "1" / "model.onnx").stat().st_size <= 3_000_000
    assert json.loads(parsed.parameters["sluice.imgsz"].string_value) == list(model.imgsz)


def test_codes_is_the_shipped_model() -> None:
    assert [path.parent.name for path in CONFIGS] == ["codes"]


def _fixed(batch: int, output: list[int], **parameters: str) -> Model:
    return model_config.read(
        _config(
            max_batch_size=0,
            input=[{"name": "images", "data_type": "TYPE_FP32", "dims": [batch, 3, 64, 96]}],
            output=[{"name": "output0", "data_type": "TYPE_FP32", "dims": output}],
            parameters={f"sluice.{name}": value for name, value in parameters.items()},
        )
    )


@pytest.mark.parametrize(("batch", "images"), [(1, 1), (16, 16), (-1, 1)])
def test_a_batch_axis_in_the_dims_is_told_apart(batch: int, images: int) -> None:
    model = _fixed(batch, [batch, 6, 84])
    assert model.fixed_batch == images
    assert model.leading == (images,)
    assert model.imgsz == (64, 96)
    assert model.input.dims == (3, 64, 96)
    assert model.outputs[0].dims == (6, 84)


def test_an_output_for_another_batch_is_explained() -> None:
    with pytest.raises(UnsupportedModel, match=r"dims for 4 images, but its output 'output0'"):
        _fixed(4, [1, 6, 84])


def test_rows_have_no_batch_axis() -> None:
    assert _fixed(1, [-1, 7], layout="rows").outputs[0].dims == (-1, 7)


def test_a_grey_model_has_one_channel() -> None:
    images = [{"name": "images", "data_type": "TYPE_UINT8", "dims": [320, 320, 1]}]
    model = model_config.read(_config(input=images))
    assert (model.channels, model.channels_last, model.imgsz) == (1, True, (320, 320))


@pytest.mark.parametrize(
    ("values", "shape", "result"),
    [(51, "", (17, 3)), (10, "", (5, 2)), (12, "[4, 3]", (4, 3)), (12, "[6, 2]", (6, 2))],
)
def test_keypoints_are_told_by_their_number_or_the_parameter(
    values: int, shape: str, result: tuple[int, int]
) -> None:
    parameters = {"task": "pose", **({"kpt_shape": shape} if shape else {})}
    assert _fixed(1, [1, 84, 5 + 2 + values], **parameters).keypoints(values) == result


@pytest.mark.parametrize(("values", "words"), [(12, "may be 4 keypoints"), (7, "no keypoints")])
def test_keypoints_that_can_not_be_told_are_refused_before_an_image_comes(
    values: int, words: str
) -> None:
    with pytest.raises(UnsupportedModel, match=words):
        _fixed(1, [1, 84, 5 + 2 + values], task="pose")


def test_an_ensemble_takes_files_and_names_its_network() -> None:
    parameters = {
        "sluice.recipe": "ensemble",
        "sluice.imgsz": "[320, 416]",
        "sluice.network": "pets.2.network",
    }
    files = [{"name": "image", "data_type": "TYPE_UINT8", "dims": ["-1"]}]
    files.append({**files[0], "name": "request"})
    model = model_config.read(_config(input=files, max_batch_size=0, parameters=parameters))
    assert (model.recipe, model.network) == (Recipe.ENSEMBLE, "pets.2.network")
    assert (model.imgsz, model.input) == ((320, 416), Tensor("image", "UINT8", (-1,)))
    with pytest.raises(UnsupportedModel, match=r"sluice\.network"):
        model_config.read(_config(input=files, parameters={**parameters, "sluice.network": ""}))
    with pytest.raises(UnsupportedModel, match=r"sluice\.imgsz"):
        model_config.read(_config(input=files, parameters={**parameters, "sluice.imgsz": ""}))
