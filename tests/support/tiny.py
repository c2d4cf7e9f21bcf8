"""Tiny ONNX models whose answers a reader can work out by hand.

The output of a tiny detector is `still + moving * red`. Here red is the mean of the image's red
pixels, as the model gets them: 1 for a red image whose pixels were divided by 255.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sluice.models import Layout, Task
from sluice.repository.description import Description
from sluice.repository.onnx_file import OnnxFile

NEWEST_OPSET = onnx.defs.onnx_opset_version()


def tensor(values, dtype=np.float32, name="t"):
    return numpy_helper.from_array(np.array(values, dtype), name)


def model(nodes, image, outputs, initializers=(), *, opset=13, dtype=TensorProto.FLOAT):
    """A model of `nodes` with the input `images` of shape `image`.

    `outputs` are shapes by name. Sides are numbers or names.
    """
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info("images", dtype, image)],
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in outputs.items()],
        list(initializers),
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    helper.set_model_props(made, {"author": "a test", "names": "{0: 'a', 1: 'b'}"})
    return made


def detector(
    still,
    moving,
    *,
    batch=1,
    size=(32, 32),
    channels=3,
    opset=13,
    dtype=np.float32,
    open_sides=False,
    output="output0",
):
    """A model with the output `still + moving * red`, of that shape without the batch axis.

    The graph has a Reshape whose target holds the number of images, as exporters write it.
    """
    still, moving = np.array(still, np.float32), np.array(moving, np.float32)
    weights = np.zeros((still.size, channels, 1, 1), dtype)
    weights[:, 0, 0, 0] = moving.ravel()
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["mean"]),
        helper.make_node("Conv", ["mean", "weights", "bias"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], [output]),
    ]
    number = batch if isinstance(batch, int) else -1
    initializers = [
        tensor(weights, dtype, "weights"),
        tensor(still.ravel(), dtype, "bias"),
        tensor([number, *still.shape], np.int64, "shape"),
    ]
    sides = ["height", "width"] if open_sides else list(size)
    return model(
        nodes,
        [batch, channels, *sides],
        {output: [batch, *still.shape]},
        initializers,
        opset=opset,
        dtype=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)),
    )


def described(
    made,
    layout,
    *,
    task=Task.DETECT,
    names=("a", "b"),
    path=Path("model.onnx"),
    imgsz=(32, 32),
    channels_last=False,
    **fields,
):
    """The model as an OnnxFile, and its description."""
    file = OnnxFile.from_model(path, made)
    batch = file.inputs[0].shape[0]
    return file, Description(
        task=task,
        layout=Layout(layout),
        names=names,
        imgsz=imgsz,
        input=file.inputs[0],
        outputs=file.outputs,
        batch=batch,
        channels_last=channels_last,
        **fields,
    )
