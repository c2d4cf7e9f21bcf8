"""Opens the batch axis of a graph that was exported for a fixed number of images."""

from dataclasses import replace

import numpy as np
import onnx
from onnx import inliner

from sluice.errors import UnsupportedModel
from sluice.models import Layout
from sluice.repository.batch_axis import CanNotOpen, open_axis
from sluice.repository.description import Description
from sluice.repository.nodes import Nodes, check
from sluice.repository.onnx_file import GraphTensor, OnnxFile
from sluice.repository.running import Array, Canvases, Runner, noise

_IMAGES = 3  # in the proof: rows that are mixed up show
_SORTED = {Layout.END_TO_END, Layout.QUERIES, Layout.RANKED_QUERIES}
"""The layouts whose rows the graph sorts: near-equal scores may change places."""
_SHARE = 0.98
"""Of the sorted rows that must be found again; the last places may go to others."""


def open_batch(file: OnnxFile, description: Description) -> tuple[OnnxFile, Description]:
    """Return the graph with an open batch axis, and its description.

    ONNX Runtime proves the result. One image gives the rows that the graph gave before. Each of
    three images gives the rows that it gives alone. If not, the graph stays as it is, with a note
    that says the cost. A graph with an open axis stays as it is.

    Raises UnsupportedModel if the graph does not run as it is.
    """
    if description.batch == -1:
        return file, description
    canvases = noise(description, _IMAGES)
    before = Runner(file).run(description, canvases[:1])
    try:
        opened = OnnxFile.from_model(file.path, _opened(file, description))
        result = replace(
            description,
            batch=-1,
            input=_open(description.input),
            outputs=tuple(_open(output) for output in description.outputs),
        )
        _prove(opened, result, canvases, before)
    except (CanNotOpen, UnsupportedModel):
        return file, replace(description, notes=(*description.notes, _note(description.batch)))
    return opened, result


def _opened(file: OnnxFile, description: Description) -> onnx.ModelProto:
    if description.layout is Layout.ROWS:
        raise CanNotOpen("rows of all images are in one output")
    model = onnx.ModelProto()
    model.CopyFrom(file.model)
    if model.functions:
        model = inliner.inline_local_functions(model)
    height, width = description.imgsz
    sides = (height, width, description.channels)
    shape = sides if description.channels_last else (sides[2], *sides[:2])
    open_axis(model, description.input.name, (description.batch, *shape))
    name = Nodes(model).name("batch")
    graph = model.graph
    kept = {output.name for output in description.outputs}
    outputs = [value for value in graph.output if value.name in kept]
    del graph.output[:]
    graph.output.extend(outputs)
    for value in (*graph.input, *graph.output):
        if value.name == description.input.name or value.name in kept:
            value.type.tensor_type.shape.dim[0].CopyFrom(
                onnx.TensorShapeProto.Dimension(dim_param=name)
            )
    # Shapes that the exporter noted hold the old number of images.
    del graph.value_info[:]
    check(model)
    return model


def _open(tensor: GraphTensor) -> GraphTensor:
    assert tensor.shape is not None
    return replace(tensor, shape=(-1, *tensor.shape[1:]))


def _prove(
    opened: OnnxFile, description: Description, canvases: Canvases, before: dict[str, Array]
) -> None:
    """Raises UnsupportedModel if an image's rows depend on the other images of a run."""
    runner, tolerance = Runner(opened), _tolerance(opened.model)
    alone = [runner.run(description, canvases[i : i + 1]) for i in range(len(canvases))]
    together = runner.run(description, canvases)
    for number, output in enumerate(description.outputs):
        name = output.name
        ordered = number > 0 or description.layout not in _SORTED
        pairs = [(alone[0][name], before[name][:1])]
        pairs += [(one[name], together[name][i : i + 1]) for i, one in enumerate(alone)]
        if len(together[name]) != len(canvases) or not all(
            _same(*pair, ordered, tolerance) for pair in pairs
        ):
            raise UnsupportedModel(f"its output {name!r} mixes the images of a run")


def _tolerance(model: onnx.ModelProto) -> float:
    """Return by how much a number may differ. Coarse numbers inside the graph round far."""
    halves = any(t.data_type == onnx.TensorProto.FLOAT16 for t in model.graph.initializer)
    bytes_ = any(node.op_type == "DequantizeLinear" for node in model.graph.node)
    return 1e-2 if halves or bytes_ else 1e-4


def _same(a: Array, b: Array, ordered: bool, tolerance: float) -> bool:
    """True if two outputs of one image are equal, up to rounding.

    Without `ordered`, rows (1, rows, values) may have changed places.
    """
    if a.shape != b.shape:
        return False
    if ordered or a.ndim != 3:
        return np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
    close = np.isclose(a[0, :, None], b[0, None], rtol=tolerance, atol=tolerance, equal_nan=True)
    found = np.any(np.all(close, axis=2), axis=1)
    return bool(np.mean(found) >= _SHARE)


def _note(count: int) -> str:
    if count == 1:
        return (
            "The graph takes one image a run, and that can't be changed: images are run one by one,"
            " never several in one call. Export the model with open axes, dynamic=True, if you can."
        )
    return (
        f"The graph takes exactly {count} images a run, and that can't be changed: each image costs"
        f" the computation of {count}. Export the model with open axes (dynamic=True), or for one"
        " image (batch=1)."
    )
