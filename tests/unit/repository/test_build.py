"""From a file to the files of a version."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sluice.errors import UnsupportedModel
from sluice.repository import build as building
from sluice.repository.build import Options, build, source_of
from sluice.repository.config import Engine, Precision
from sluice.repository.nodes import rename_uses
from tests.support import tiny

ROWS = [[16.0] * 21, [16.0] * 21, [8.0] * 21, [8.0] * 21, [0.1] * 21, [0.2] * 21]
STILL = [[0.0] * 21] * 6


@pytest.fixture
def model() -> onnx.ModelProto:
    return tiny.detector(ROWS, STILL)


def _save(model: onnx.ModelProto, path: Path, *, external: bool = False) -> Path:
    onnx.helper.set_model_props(model, {"task": "detect", "names": "{0: 'a', 1: 'b'}"})
    if external:
        onnx.save(model, path, save_as_external_data=True, location="weights.bin")
    else:
        onnx.save(model, path)
    return path


def _build(path: Path, options: Options | None = None) -> building.Built:
    made = path.parent / "made"
    made.mkdir(exist_ok=True)
    return build(path, options or Options(), made)


def test_a_changed_graph_is_served_and_the_source_is_kept(
    model: onnx.ModelProto, tmp_path: Path
) -> None:
    path = _save(model, tmp_path / "m.onnx")
    built = _build(path)
    assert built.folded
    assert sorted(built.files) == ["model.onnx", "source.onnx"]
    assert built.files["source.onnx"] == path
    assert built.files["model.onnx"].read_bytes() != path.read_bytes()


def test_a_graph_that_needs_no_change_is_served_as_it_is(tmp_path: Path) -> None:
    path = _save(tiny.detector(ROWS, STILL, batch="n"), tmp_path / "m.onnx")
    built = _build(path, Options(fold=False))
    assert not built.folded
    assert built.files == {"model.onnx": path}


def test_weights_in_another_file_are_read_and_kept(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = _save(model, tmp_path / "m.onnx", external=True)
    built = _build(path)
    assert sorted(built.files) == ["model.onnx", "source.onnx", "weights.bin"]
    onnx.checker.check_model(built.files["model.onnx"], full_check=True)
    served = onnx.load(built.files["model.onnx"], load_external_data=False)
    assert not any(
        onnx.external_data_helper.uses_external_data(tensor) for tensor in served.graph.initializer
    )


def test_weights_in_another_file_belong_to_the_source(
    model: onnx.ModelProto, tmp_path: Path
) -> None:
    path = _save(model, tmp_path / "m.onnx", external=True)
    before = source_of(path, Options())
    data = bytearray((tmp_path / "weights.bin").read_bytes())
    data[0] ^= 1
    (tmp_path / "weights.bin").write_bytes(data)
    assert source_of(path, Options()) != before


def test_missing_weights_are_told(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = _save(model, tmp_path / "m.onnx", external=True)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(UnsupportedModel, match=r"weights\.bin"):
        _build(path)


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/b"])
def test_weights_elsewhere_are_refused(
    model: onnx.ModelProto, tmp_path: Path, location: str
) -> None:
    path = _save(model, tmp_path / "m.onnx", external=True)
    (tmp_path.parent / "secret").write_bytes(b"x" * 10_000)
    changed = onnx.load(path, load_external_data=False)
    for tensor in changed.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(changed.SerializeToString())
    with pytest.raises(UnsupportedModel):
        source_of(path, Options())


@pytest.mark.parametrize(
    "other",
    [
        Options(fold=False),
        Options(max_batch=4),
        Options(engine=Engine.ONNXRUNTIME),
        Options(precision=Precision.BF16),
        Options(tensorrt=True),
    ],
)
def test_other_options_make_another_source(
    model: onnx.ModelProto, tmp_path: Path, other: Options
) -> None:
    path = _save(model, tmp_path / "m.onnx")
    assert source_of(path, other) != source_of(path, Options())
    assert source_of(path, other) == source_of(path, replace(other))
    other_path = tmp_path / "copy.onnx"
    other_path.write_bytes(path.read_bytes())
    assert source_of(other_path, other) == source_of(path, other), "the name tells nothing"


def test_a_graph_that_came_quantized_runs_in_onnx_runtime(
    model: onnx.ModelProto, tmp_path: Path
) -> None:
    """OpenVINO misreads the signed activations of exporters, and nothing tells."""
    graph = model.graph
    (image,) = graph.input
    rename_uses(graph, image.name, "through")
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(1 / 127, np.float32), "scale"),
            numpy_helper.from_array(np.array(0, np.int8), "zero"),
        ]
    )
    for number, (operator, read, written) in enumerate(
        [("QuantizeLinear", image.name, "bytes"), ("DequantizeLinear", "bytes", "through")]
    ):
        node = onnx.helper.make_node(operator, [read, "scale", "zero"], [written])
        graph.node.insert(number, node)
    built = _build(_save(model, tmp_path / "m.onnx"))
    assert built.options.engine is Engine.ONNXRUNTIME
    assert "openvino" not in built.render("m", 1)
    assert any("runs in ONNX Runtime" in note for note in built.description.notes)
