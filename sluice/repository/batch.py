"""Opens the batch axis of a graph that was exported for a fixed number of images."""

from dataclasses import replace

import numpy as np
import onnx
from onnx import inliner

from sluice.errors import UnsupportedModel
from sluice.models import Layout
from sluice.repository.batch_axis import CanNotOpen, open_axis
from sluice.repository.description import Description
from sluice.repository.nodes import Nodes, check, sorted_copy
from sluice.repository.onnx_file import GraphTensor, OnnxFile
from sluice.repository.running import Array, Canvases, Runner, noise

_IMAGES = 3  # in the proof: rows that are mixed up show
_SORTED = {Layout.END_TO_END, Layout.QUERIES, Layout.RANKED_QUERIES}
"""The layouts whose rows the graph sorts: near-equal scores may change places."""
_SHARE = 0.5
"""Of the sorted rows that must be found again. Roundings change which rows are among the best."""


def open_batch(file: OnnxFile, description: Description) -> tuple[OnnxFile, Description]:
    """Return the graph with an open batch axis, and its description.

    ONNX Runtime proves the result. One image gives the rows that the graph gave before. Each of
    three images gives the rows that it gives alone. If not, the graph stays as it is, with a note
    that says the cost. A graph that came with an open axis is proved in the same way.

    Raises UnsupportedModel if the graph does not run as it is.
    """
    if description.layout is Layout.ROWS:
        return file, _noted(description)
    canvases = noise(description, _IMAGES)
    if description.batch == -1:
        return _checked(file, description, canvases)
    before = Runner(file, exact=True).run(description, canvases[:1])
    try:
        opened = OnnxFile.from_model(file.path, _opened(file, description))
        result = replace(
            description,
            batch=-1,
            input=_sized(description.input, -1),
            outputs=tuple(_sized(output, -1) for output in description.outputs),
        )
        _prove(opened, result, canvases, before)
    except (CanNotOpen, UnsupportedModel):
        return file, _noted(description)
    return opened, result


def _checked(
    file: OnnxFile, description: Description, canvases: Canvases
) -> tuple[OnnxFile, Description]:
    """Return a graph with an open axis as it is, or fixed to one image if it mixes images."""
    before = Runner(file, exact=True).run(description, canvases[:1])
    try:
        _prove(file, description, canvases, before)
    except UnsupportedModel:
        model = onnx.ModelProto()
        model.CopyFrom(file.model)
        for value in (*model.graph.input, *model.graph.output):
            if value.name in {description.input.name, *before}:
                value.type.tensor_type.shape.dim[0].dim_value = 1
        fixed = replace(
            description,
            batch=1,
            input=_sized(description.input, 1),
            outputs=tuple(_sized(output, 1) for output in description.outputs),
        )
        return OnnxFile.from_model(file.path, model), _noted(fixed)
    return file, description


def _opened(file: OnnxFile, description: Description) -> onnx.ModelProto:
    model = sorted_copy(file.model)
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


def _sized(tensor: GraphTensor, batch: int) -> GraphTensor:
    assert tensor.shape is not None
    return replace(tensor, shape=(batch, *tensor.shape[1:]))


def _prove(
    opened: OnnxFile, description: Description, canvases: Canvases, before: dict[str, Array]
) -> None:
    """Raises UnsupportedModel if an image's rows depend on the other images of a run."""
    runner, rough = Runner(opened, exact=True), _is_rough(opened.model)
    alone = [runner.run(description, canvases[i : i + 1]) for i in range(len(canvases))]
    together = runner.run(description, canvases)
    for number, output in enumerate(description.outputs):
        name = output.name
        rows = [one[name] for one in alone]
        same = len(together[name]) == len(canvases)
        if number == 0 and description.layout in _SORTED and together[name].ndim == 3:
            same = same and _same_rows(before[name][:1], rows[0])
            same = same and all(map(_same_rows, together[name][:, None], rows))
        else:
            others = [*rows[1:], rows[0]]
            same = same and _same(before[name][:1], rows[0], others[0], rough)
            same = same and all(
                _same(together[name][i : i + 1], row, other, rough)
                for i, (row, other) in enumerate(zip(rows, others, strict=True))
            )
        if not same:
            raise UnsupportedModel(f"its output {name!r} mixes the images of a run")


def _is_rough(model: onnx.ModelProto) -> bool:
    """True where numbers inside the graph have few digits, so that roundings add up."""
    halves = any(t.data_type == onnx.TensorProto.FLOAT16 for t in model.graph.initializer)
    return halves or any(node.op_type == "DequantizeLinear" for node in model.graph.node)


def _same(a: Array, b: Array, other: Array, rough: bool) -> bool:
    """True if two outputs of one image are equal, up to rounding.

    `other` is that of another image. An untrained network amplifies roundings, so differences are
    judged by those between images: on average, for each index of each axis.
    """
    if a.shape != b.shape:
        return False
    of_spread, of_size = (5e-2, 1e-3) if rough else (1e-2, 1e-5)
    a, b, other = (np.nan_to_num(array.astype(np.float64)) for array in (a, b, other))
    for axis in range(1, a.ndim):
        rest = tuple(index for index in range(a.ndim) if index != axis)
        wrong, spread, size = (np.abs(array).mean(axis=rest) for array in (a - b, a - other, a))
        if np.any(wrong > of_spread * spread + of_size * size + 1e-7):
            return False
    return True


def _same_rows(a: Array, b: Array) -> bool:
    """True if the rows of two outputs of one image, (1, rows, values), are equal in any order."""
    if a.shape != b.shape:
        return False
    tolerance = 1e-4 * max(1.0, float(np.abs(a).max(initial=0)) / 100)
    close = np.isclose(a[0, :, None], b[0, None], rtol=1e-3, atol=tolerance, equal_nan=True)
    found = np.any(np.all(close, axis=2), axis=1)
    return bool(np.mean(found) >= _SHARE)


def _noted(description: Description) -> Description:
    """Return the description with a note of what the fixed number of images costs."""
    return replace(description, notes=(*description.notes, _note(description.batch)))


def _note(count: int) -> str:
    advice = "Export the model with open axes (dynamic=True) and without suppression (nms=True)."
    if abs(count) == 1:
        return (
            "The graph takes one image a run, and that can't be changed: images are run one by one,"
            f" never several in one call. {advice}"
        )
    return (
        f"The graph takes exactly {count} images a run, and that can't be changed: each image costs"
        f" the computation of {count}. {advice}"
    )
