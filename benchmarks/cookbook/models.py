"""One exported model in one repository, as each handler needs it."""

import subprocess
import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from sluice.local.paths import CHECKOUT, MODEL_REPOSITORY

#: The options of `sluice models add` by name. All have the same engine and the same file.
WAYS = {"recipe": ["--no-fold"], "queue": [], "ensemble": ["--ensemble"]}


def build(folder: Path, model: Path | None = None) -> Path:
    """Make a repository in `folder`, and return it.

    `model` is an ONNX file as exported: float32, channels first, the layout of YOLOv8 to 11.
    The default is the shipped detector in that form. Raises CalledProcessError.
    """
    file = model or exported(folder / "exported.onnx")
    repository = folder / "models"
    for name, options in WAYS.items():
        command = [sys.executable, "-m", "sluice", "models", "add", str(file), "--name", name]
        command += ["--repository", str(repository), *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=CHECKOUT)
    return repository


def exported(target: Path) -> Path:
    """Write the shipped detector as an exporter of YOLO models would, and return the file.

    The shipped graph takes bytes, and begins with their conversion. Here the conversion is left to
    the caller: the input is (batch, 3, height, width) float32 from 0 to 1.
    """
    graph = onnx.load(MODEL_REPOSITORY / "codes" / "1" / "model.onnx")
    first = next(node for node in graph.graph.node if node.op_type == "Conv")
    lead = {"Transpose", "Cast", "Constant", "Div"}
    names = [node.op_type for node in graph.graph.node]
    assert set(names[: names.index("Conv")]) <= lead, "the shipped graph begins in another way"
    given = graph.graph.input[0]
    batch, height, width, channels = given.type.tensor_type.shape.dim
    shape = [batch.dim_param, channels.dim_value, height.dim_value, width.dim_value]
    first.input[0] = given.name
    given.CopyFrom(helper.make_tensor_value_info(given.name, TensorProto.FLOAT, shape))
    del graph.graph.node[: names.index("Conv")]
    onnx.checker.check_model(graph)
    onnx.save(graph, target)
    return target
