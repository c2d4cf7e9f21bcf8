"""Folds preparation and selection into a graph, so that less crosses the wire and the worker rests.

The front takes uint8 pixels, (N, height, width, channels) RGB. The back adds the output
`candidates`, the rows with the best scores. The raw output stays: a worker asks for it if the
candidates don't suffice.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import helper

from sluice.errors import UnsupportedModel
from sluice.models import ChannelOrder, Layout, Task
from sluice.repository import candidates, nodes
from sluice.repository.description import Description
from sluice.repository.nodes import Nodes, sorted_copy
from sluice.repository.onnx_file import GraphTensor, OnnxFile
from sluice.repository.prove import same_detections
from sluice.repository.running import Runner, noise

RAW = {Layout.ANCHORS, Layout.ANCHOR_FREE, Layout.GRID, Layout.MAPS}
"""The layouts whose rows are not suppressed: folding selects candidates from them."""


def fold(file: OnnxFile, description: Description) -> tuple[OnnxFile, Description]:
    """Return the folded graph and its description.

    The folded graph is proved: it gives the same detections. The graph stays as it is, with a note
    that says why, where the proof fails.

    Raises UnsupportedModel if the graph does not run as it is.
    """
    try:
        folded, result = _folded(file, description)
        same_detections(file, description, folded, result)
    except UnsupportedModel as error:
        note = f"The graph is served without folding, so more bytes cross the wire: {error}"
        return file, replace(description, notes=(*description.notes, note))
    return folded, result


def _folded(file: OnnxFile, description: Description) -> tuple[OnnxFile, Description]:
    if file.opset < nodes.OLDEST_OPSET:
        raise UnsupportedModel(
            f"its opset is {file.opset}, and folding needs {nodes.OLDEST_OPSET} or newer;"
            " export it again with a newer opset"
        )
    model = sorted_copy(file.model)
    description = _add_front(model, description)
    description = _measure(OnnxFile.from_model(file.path, model), description)
    if description.layout in RAW and description.task is not Task.CLASSIFY:
        description = _add_back(model, description)
    _set_outputs(model, description)
    nodes.check(model)
    return OnnxFile.from_model(file.path, model), description


def _add_front(model: onnx.ModelProto, description: Description) -> Description:
    """Give the graph an input of uint8 pixels, under the name of the old input."""
    name, dtype = description.input.name, description.input.dtype
    graph = model.graph
    front = Nodes(model)
    inner = front.name(f"{name}_network")
    steps: list[tuple[str, list[str], dict[str, Any]]] = []
    # A transposition is cheapest while a value is a byte.
    if not description.channels_last:
        steps.append(("Transpose", [], {"perm": [0, 3, 1, 2]}))
    if description.channel_order is ChannelOrder.BGR:
        axis = 3 if description.channels_last else 1
        steps.append(("Gather", [front.constant([2, 1, 0])], {"axis": axis}))
    if dtype != "UINT8":
        numpy_dtype = np.float16 if dtype == "FP16" else np.float32
        to = helper.np_dtype_to_tensor_dtype(np.dtype(numpy_dtype))
        steps.append(("Cast", [], {"to": to}))
        if description.pixel_max == 1:
            steps.append(("Div", [front.constant(255, numpy_dtype)], {}))
    if steps:
        nodes.rename_uses(graph, name, inner)
    tensor = name
    for number, (operator, inputs, attributes) in enumerate(steps):
        result = inner if number == len(steps) - 1 else ""
        tensor = front.add(operator, tensor, *inputs, name=result, **attributes)
    front.prepend()

    shape = (description.batch, *description.imgsz, description.channels)
    (image,) = (value for value in graph.input if value.name == name)
    batch = image.type.tensor_type.shape.dim[0].dim_param or "batch"
    image.CopyFrom(_value(name, onnx.TensorProto.UINT8, shape, batch))
    # Shapes that an exporter noted may be those of other sides.
    del graph.value_info[:]
    return replace(
        description,
        input=GraphTensor(name, "UINT8", shape),
        channels_last=True,
        channel_order=ChannelOrder.RGB,
        pixel_max=1,
    )


def _measure(file: OnnxFile, description: Description) -> Description:
    """Return the description with the outputs' sides, which one run tells."""
    arrays = Runner(file).run(description, noise(description, 1))
    return replace(
        description,
        outputs=tuple(
            replace(output, shape=_shape(arrays[output.name].shape, output, description))
            for output in description.outputs
        ),
    )


def _shape(
    shape: tuple[int, ...], output: GraphTensor, description: Description
) -> tuple[int, ...]:
    if description.layout is Layout.ROWS:
        return output.shape or (-1, *shape[1:])
    return (description.batch, *shape[1:])


def _add_back(model: onnx.ModelProto, description: Description) -> Description:
    """Add the output `candidates`, and the decoded form of the layouts grid and maps."""
    back = Nodes(model)
    layout = description.layout
    main = description.outputs[0]
    rest = description.outputs[1:]
    if layout is Layout.MAPS:
        main, rest = _decode_maps(back, description), ()
    elif layout is Layout.GRID:
        main = _decode_grid(back, description)
    assert main.shape is not None
    anchor_free = layout is Layout.ANCHOR_FREE
    _, first, second = main.shape
    table = candidates.Table(
        tensor=_float32(back, main),
        axis=1 if anchor_free else 2,
        anchors=second if anchor_free else first,
        classes=len(description.names),
        extras=description.extras,
        objectness=not anchor_free,
    )
    name = back.name("candidates")
    candidates.select(back, table, name)
    back.append()
    shape = (description.batch, table.count, 6 + table.extras)
    return replace(
        description,
        layout=Layout.CANDIDATES,
        outputs=(GraphTensor(name, "FP32", shape), main, *rest),
        raw_layout=Layout.ANCHOR_FREE if anchor_free else Layout.ANCHORS,
        raw_output=main.name,
        anchors=None,
    )


def _decode_grid(back: Nodes, description: Description) -> GraphTensor:
    main = description.outputs[0]
    assert main.shape is not None
    name = back.name("decoded")
    candidates.decode_grid(back, _float32(back, main), description.imgsz, main.shape[2], name)
    return GraphTensor(name, "FP32", main.shape)


def _decode_maps(back: Nodes, description: Description) -> GraphTensor:
    tables, anchors, values = [], 0, 0
    assert description.anchors is not None
    for output, sizes in zip(description.outputs, description.anchors, strict=True):
        assert output.shape is not None
        tensor = _float32(back, output)
        tables.append(candidates.decode_map(back, tensor, output.shape, description.imgsz, sizes))
        _, boxes, rows, columns, values = output.shape
        anchors += boxes * rows * columns
    name = back.add("Concat", *tables, name=back.name("decoded"), axis=1)
    return GraphTensor(name, "FP32", (description.batch, anchors, values))


def _float32(back: Nodes, tensor: GraphTensor) -> str:
    return tensor.name if tensor.dtype == "FP32" else back.cast(tensor.name, np.float32)


def _set_outputs(model: onnx.ModelProto, description: Description) -> None:
    """List the description's outputs as the graph's, in its order."""
    graph = model.graph
    batch = next(
        dim.dim_param or "batch"
        for value in graph.input
        if value.name == description.input.name
        for dim in value.type.tensor_type.shape.dim[:1]
    )
    types = {value.name: value.type.tensor_type.elem_type for value in graph.output}
    del graph.output[:]
    for output in description.outputs:
        assert output.shape is not None
        elem_type = types.get(output.name, onnx.TensorProto.FLOAT)
        first = "rows" if description.layout is Layout.ROWS else batch
        graph.output.append(_value(output.name, elem_type, output.shape, first))


def _value(name: str, elem_type: int, shape: Sequence[int], batch: str) -> onnx.ValueInfoProto:
    """Return an input or output whose open side, -1, has the name `batch`."""
    sides = [batch if side == -1 else side for side in shape]
    return helper.make_tensor_value_info(name, elem_type, sides)
