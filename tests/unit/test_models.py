"""A model's description in Triton's configuration, and the shipped configurations."""

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import model_config_pb2

from sluice.errors import InvalidInput, UnsupportedModel
from sluice.models import Layout, Model, Task, Tensor
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
    model = Model.from_config(_config())
    assert model == Model(
        name="pets",
        task=Task.DETECT,
        layout=Layout.ANCHORS,
        names=("cat", "dog"),
        imgsz=(320, 416),
        input=Tensor("images", "UINT8", (320, 416, 3)),
        outputs=(Tensor("output0", "FP32", (100, 7)),),
        batched=True,
    )
    assert model.channels_last


def test_an_input_of_any_size_takes_its_size_from_the_parameters() -> None:
    images = [{"name": "images", "data_type": "TYPE_FP32", "dims": ["3", "-1", "-1"]}]
    model = Model.from_config(_config(input=images, parameters={"sluice.imgsz": "[640, 480]"}))
    assert model.imgsz == (640, 480)
    assert not model.channels_last
    with pytest.raises(UnsupportedModel, match=r"sluice\.imgsz"):
        Model.from_config(_config(input=images))


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
        ({"input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [1, 320, 320]}]}, "neither"),
    ],
)
def test_an_unsupported_configuration_names_the_model_and_the_cause(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UnsupportedModel, match=words) as caught:
        Model.from_config(_config(**changes))
    assert "pets" in caught.value.message


def test_classes_are_found_by_name_or_id() -> None:
    model = Model.from_config(_config())
    assert model.class_ids(None) is None
    assert model.class_ids(["dog", 0]) == (1, 0)
    assert model.class_ids([]) == ()
    for wrong in ("cow", 2, -1):
        with pytest.raises(InvalidInput, match="it has cat, dog"):
            model.class_ids([wrong])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.parent.name)
def test_a_shipped_configuration_agrees_with_triton_sluice_and_its_files(path: Path) -> None:
    parsed = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
    assert parsed.name == path.parent.name
    model = Model.from_config(MessageToDict(parsed, preserving_proto_field_name=True))
    assert list(model.names) == (path.parent / "labels.txt").read_text().split()
    assert (path.parent / "1" / "model.onnx").stat().st_size <= 3_000_000
    assert json.loads(parsed.parameters["sluice.imgsz"].string_value) == list(model.imgsz)


def test_codes_is_the_shipped_model() -> None:
    assert [path.parent.name for path in CONFIGS] == ["codes"]
