"""Tiny ONNX graphs with the signature of real exports, whose outputs are known numbers.

made = constant_outputs({"output0": (1, 84, 8400)}, metadata={"names": "['a', 'b']"})
file = save(made, tmp_path / "model.onnx")
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

NEWEST_OPSET = onnx.defs.onnx_opset_version()
Value = npt.NDArray[Any] | tuple[int, ...]


def constant_outputs(
    outputs: Mapping[str, Value],
    *,
    image: Sequence[int | str] = (1, 3, 640, 640),
    dtype: int = TensorProto.FLOAT,
    declared: Mapping[str, Sequence[int | str] | None] | None = None,
    metadata: Mapping[str, str] | None = None,
    operators: Sequence[str] = (),
    opset: int = 13,
) -> onnx.ModelProto:
    """A model that answers every image with the same numbers.

    `outputs` are arrays by name; a shape stands for an array of 0.5. The first side of an output of
    1 grows with the number of images. `image` is the shape of the input, with names for open sides.
    `declared` replaces the shapes that the graph declares for its outputs; None declares none.
    `operators` are unused operators, each with one input and one output.
    """
    declared = declared or {}
    nodes = [
        helper.make_node("Shape", ["images"], ["sides"]),
        helper.make_node("Gather", ["sides", "first"], ["batch"], axis=0),
    ]
    initializers = [numpy_helper.from_array(np.array([0], np.int64), "first")]
    infos = []
    for name, value in outputs.items():
        array = np.full((1,) * len(value), 0.5, np.float32) if isinstance(value, tuple) else value
        shape = value if isinstance(value, tuple) else value.shape
        initializers += [
            numpy_helper.from_array(array, f"{name}.numbers"),
            numpy_helper.from_array(np.array(shape[1:], np.int64), f"{name}.sides"),
        ]
        grows = shape[0] == 1
        if grows:
            nodes.append(
                helper.make_node("Concat", ["batch", f"{name}.sides"], [f"{name}.shape"], axis=0)
            )
        else:
            whole = np.array(shape, np.int64)
            initializers.append(numpy_helper.from_array(whole, f"{name}.shape"))
        nodes.append(helper.make_node("Expand", [f"{name}.numbers", f"{name}.shape"], [name]))
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        info = declared.get(name, (image[0] if grows else shape[0], *shape[1:]))
        infos.append(helper.make_tensor_value_info(name, kind, info))
    nodes += [
        helper.make_node(operator, ["sides"], [f"unused{number}"])
        for number, operator in enumerate(operators)
    ]
    inputs = [helper.make_tensor_value_info("images", dtype, list(image))]
    graph = helper.make_graph(nodes, "constant", inputs, infos, initializers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    helper.set_model_props(made, dict(metadata or {}))
    return made


def save(made: onnx.ModelProto, path: Path) -> Path:
    """Write a model to `path`, and return the path."""
    path.write_bytes(made.SerializeToString())
    return path
