"""`config.pbtxt`: written, and read again by protobuf's own parser."""

from dataclasses import replace

import pytest

from sluice.errors import UnsupportedModel
from sluice.models import Layout, Model, Placement, Task
from sluice.repository import config
from sluice.repository.config import BuildOptions, Engine, Precision, SavedConfig
from sluice.repository.description import Description
from sluice.repository.onnx_file import GraphTensor
from tests.support.paths import ROOT

DESCRIPTION = Description(
    task=Task.DETECT,
    layout=Layout.ANCHOR_FREE,
    names=("one", "two"),
    imgsz=(320, 640),
    input=GraphTensor("images", "FP32", (-1, 3, 320, 640)),
    outputs=(GraphTensor("output0", "FP32", (-1, 6, -1)),),
    batch=-1,
    channels_last=False,
)


def _read(text: str, name: str = "m") -> SavedConfig:
    return config.parse(name, text)


def _model(text: str) -> Model:
    model = _read(text).model
    assert isinstance(model, Model), model
    return model


def test_the_written_configuration_describes_the_model() -> None:
    text = config.render("m", 7, DESCRIPTION, BuildOptions(source="sha256:ab"))
    saved = _read(text)
    assert (saved.version, saved.source, saved.retired) == (7, "sha256:ab", False)
    model = _model(text)
    assert (model.name, model.version, model.task) == ("m", "7", Task.DETECT)
    assert (model.names, model.imgsz, model.batched) == (("one", "two"), (320, 640), True)
    assert model.input.dims == (3, 320, 640)
    assert model.outputs[0].dims == (6, -1)
    assert "max_batch_size: 8" in text
    assert "dynamic_batching" in text
    assert "version_policy { specific { versions: [ 7 ] } }" in text


@pytest.mark.parametrize(
    "names",
    [
        ('say "hi"', "back\\slash", "a, b", "", " "),
        ("schön", "人", "\N{PILE OF POO}", "é\n\t\r\x00\x7f\x801"),
        ("'quoted'", "{0}", "# comment", "0"),
    ],
)
def test_names_of_any_characters_come_back(names: tuple[str, ...]) -> None:
    text = config.render("m", 1, replace(DESCRIPTION, names=names), BuildOptions())
    assert text.isascii()
    assert _model(text).names == names


def test_a_tensor_may_have_any_name() -> None:
    odd = GraphTensor('in"put:0/é', "FP32", (-1, 3, 320, 640))
    text = config.render("m", 1, replace(DESCRIPTION, input=odd), BuildOptions())
    assert _model(text).input.name == 'in"put:0/é'


def test_without_an_open_batch_axis_all_dims_are_given() -> None:
    fixed = replace(
        DESCRIPTION,
        batch=4,
        input=GraphTensor("images", "FP32", (4, 3, 320, 640)),
        outputs=(GraphTensor("output0", "FP32", (4, 6, 100)),),
    )
    text = config.render("m", 1, fixed, BuildOptions())
    assert "max_batch_size: 0" in text
    assert "dims: [ 4, 3, 320, 640 ]" in text
    assert "dynamic_batching" not in text
    model = _model(text)
    assert (model.batched, model.fixed_batch, model.outputs[0].dims) == (False, 4, (6, 100))


def test_parameters_of_special_models_are_written() -> None:
    special = replace(
        DESCRIPTION,
        task=Task.POSE,
        layout=Layout.CANDIDATES,
        outputs=(
            GraphTensor("candidates", "FP32", (-1, 300, 12)),
            GraphTensor("output0", "FP32", (-1, 12, 2100)),
        ),
        kpt_shape=(3, 2),
        letterbox=Placement.CORNER,
        pixel_max=255,
        raw_layout=Layout.ANCHOR_FREE,
        raw_output="output0",
    )
    model = _model(config.render("m", 1, special, BuildOptions()))
    assert (model.kpt_shape, model.letterbox, model.pixel_max) == ((3, 2), "corner", 255)
    assert (model.raw_layout, model.raw_output) == (Layout.ANCHOR_FREE, "output0")


@pytest.mark.parametrize(
    ("options", "there", "absent"),
    [
        (BuildOptions(), '"openvino" parameters { key: "precision" value: "FP32" }', "tensorrt"),
        (BuildOptions(precision=Precision.BF16), '"precision" value: "BF16"', "tensorrt"),
        (BuildOptions(precision=Precision.INT8), '"precision" value: "FP32"', "tensorrt"),
        (BuildOptions(engine=Engine.ONNXRUNTIME), "instance_group", "optimization"),
        (
            BuildOptions(tensorrt=True),
            'gpu_execution_accelerator: [ { name: "tensorrt" parameters { key: "precision_mode"'
            ' value: "FP16" } } ]',
            "bf16",
        ),
    ],
)
def test_the_engine_is_named(options: BuildOptions, there: str, absent: str) -> None:
    text = config.render("m", 1, DESCRIPTION, options)
    assert there in text
    assert absent not in text
    assert _model(text)


def test_a_retired_configuration_is_the_same_and_says_so() -> None:
    text = config.render("m", 1, DESCRIPTION, BuildOptions(source="s"))
    saved = _read(config.retired(text))
    assert saved.retired
    assert (saved.version, saved.source) == (1, "s")
    assert isinstance(saved.model, Model)
    assert saved.model.retired


def test_a_configuration_by_hand_is_read_and_pinned() -> None:
    text = (ROOT / "model_repository" / "codes" / "config.pbtxt").read_text()
    assert (_read(text).version, _read(text).pinned) == (1, True)
    assert _model(text).names == ("qr_code", "barcode", "marker")
    text = 'name: "m"  # no policy: Triton serves the newest version'
    assert (_read(text).version, _read(text).pinned) == (None, False)
    pinned = config.pinned(text, 3)
    assert (_read(pinned).version, _read(pinned).pinned) == (3, True)


def test_a_text_that_triton_could_not_read_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match=r"config\.pbtxt can't be read"):
        _read('name: "m" garbage {')


def test_a_model_that_sluice_can_not_serve_is_told_as_such() -> None:
    saved = _read('name: "m" backend: "python"')
    assert isinstance(saved.model, UnsupportedModel)
