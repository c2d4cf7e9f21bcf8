"""Rewrites a graph that was exported for a fixed number of images, so that it takes any number.

The shapes of all tensors are inferred twice: for the number of images in the file, and for more.
An axis that grows is the batch axis, alone or folded with another one. A constant that keeps an
axis from growing is rewritten. The rules are heuristics: `sluice.repository.batch` proves the
result.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from sluice.repository.nodes import Nodes, subgraphs

Shape = tuple[int, ...]
Ints = npt.NDArray[np.int64]

_FACTOR = 5  # times as many images
_LARGEST = 4096  # values in a constant that is evaluated; shapes and indices are smaller


class CanNotOpen(Exception):
    """The graph has a node that no rule can rewrite."""


def open_axis(model: onnx.ModelProto, image: str, shape: Shape) -> None:
    """Rewrite `model` so that the first axis of its input `image` may have any size.

    `shape` is the input's shape, all sides known; its first side is the number of images in the
    file. Types of inputs and outputs, and notes of shapes in the graph, are left as they are.

    Raises CanNotOpen.
    """
    _Opener(model, image, shape).run()


class _Fact:
    """The type and perhaps the values of a tensor, for the file's number of images and for more."""

    def __init__(
        self,
        types: tuple[onnx.TypeProto, onnx.TypeProto],
        values: tuple[npt.NDArray, npt.NDArray] | None = None,  # type: ignore[type-arg]
    ) -> None:
        self.types = types
        self.values = values

    @property
    def shapes(self) -> tuple[Shape, Shape] | None:
        shapes = [_shape(type_) for type_ in self.types]
        return (shapes[0], shapes[1]) if shapes[0] is not None and shapes[1] is not None else None

    @property
    def grows(self) -> bool:
        return self.shapes is not None and self.shapes[0] != self.shapes[1]


class _Opener:
    def __init__(self, model: onnx.ModelProto, image: str, shape: Shape) -> None:
        self._graph = model.graph
        self._opsets = {entry.domain or "": entry.version for entry in model.opset_import}
        self._imports = list(model.opset_import)
        self._ir_version = model.ir_version
        self._nodes = Nodes(model)
        self._image = image
        self._batch = shape[0]
        self._facts: dict[str, _Fact] = {}
        for tensor in model.graph.initializer:
            self._facts[tensor.name] = _constant(tensor)
        (value,) = (value for value in model.graph.input if value.name == image)
        elem_type = value.type.tensor_type.elem_type
        greater = (self._batch * _FACTOR, *shape[1:])
        self._facts[image] = _Fact(
            (
                helper.make_tensor_type_proto(elem_type, shape),
                helper.make_tensor_type_proto(elem_type, greater),
            )
        )

    def run(self) -> None:
        rules: dict[str, Callable[[onnx.NodeProto], None]] = {
            "Reshape": self._reshape,
            "Expand": self._expand,
            "Tile": self._tile,
            "Resize": self._resize,
            "ConstantOfShape": self._constant_of_shape,
            "Concat": self._concat,
        }
        nodes = list(self._graph.node)
        del self._graph.node[:]
        for node in nodes:
            if rule := rules.get(node.op_type):
                rule(node)
            else:
                self._shrink_constants(node)
            self._append_new()
            self._infer(node)
            self._graph.node.append(node)

    def _append_new(self) -> None:
        """Put nodes that a rule made in front of the node that needs them."""
        for node in self._nodes.take():
            self._infer(node)
            self._graph.node.append(node)

    # One rule an operator. A rule leaves the node as it is where its shapes are unknown.

    def _reshape(self, node: onnx.NodeProto) -> None:
        source, target = self._fact(node.input[0]), self._fact(node.input[1])
        before = self._inferred(node)
        if source is None or not source.grows or target is None or before is None:
            return
        assert source.shapes is not None
        small, great = source.shapes
        result = before[0]
        axis = _axis_after_reshape(source.shapes, result, self._batch)
        wanted = [*result]
        wanted[axis] *= math.prod(great) // math.prod(small)
        if before[1] != tuple(wanted):
            node.input[1] = self._constant([*result[:axis], -1, *result[axis + 1 :]])

    def _expand(self, node: onnx.NodeProto) -> None:
        """A target of 1 keeps the side of the source, so it replaces the number of images."""
        target = self._fact(node.input[1])
        if target is None or target.values is None or not self._is_constant(target):
            return
        sides = target.values[0].tolist()
        source = self._fact(node.input[0])
        small, great = source.shapes if source and source.shapes else ((), ())
        for index in range(-len(small), 0):
            if small[index] != great[index] and len(sides) >= -index:
                sides[index] = 1
        if self._batch > 1 and sides[0] == self._batch:
            sides[0] = 1
        if sides != target.values[0].tolist():
            node.input[1] = self._constant(sides)

    def _tile(self, node: onnx.NodeProto) -> None:
        """Repeating a constant for each image is left out: later operators broadcast it."""
        repeats = self._fact(node.input[1])
        source = self._fact(node.input[0])
        if repeats is None or repeats.values is None or self._batch == 1:
            return
        counts = repeats.values[0].tolist()
        if source and not source.grows and self._is_constant(repeats) and counts[0] == self._batch:
            node.input[1] = self._constant([1, *counts[1:]])

    def _constant_of_shape(self, node: onnx.NodeProto) -> None:
        shape = self._fact(node.input[0])
        if shape is None or shape.values is None or self._batch == 1:
            return
        sides = shape.values[0].tolist()
        if sides and self._is_constant(shape) and sides[0] == self._batch:
            node.input[0] = self._constant([1, *sides[1:]])

    def _resize(self, node: onnx.NodeProto) -> None:
        """Sizes that hold the number of images take it from the source instead."""
        source = self._fact(node.input[0])
        if len(node.input) < 4 or source is None or not source.grows:
            return
        sizes = self._fact(node.input[3])
        assert source.shapes is not None
        if sizes is None or sizes.values is None or not self._is_constant(sizes):
            return
        whole = sizes.values[0].tolist()
        # With the attribute `axes`, sizes are those of the axes that scale.
        if len(whole) == len(source.shapes[0]) and source.shapes[0][0] != source.shapes[1][0]:
            first = self._nodes.cut(self._nodes.add("Shape", node.input[0]), 0, 0, 1)
            rest = self._nodes.constant(whole[1:])
            node.input[3] = self._nodes.add("Concat", first, rest, axis=0)

    def _concat(self, node: onnx.NodeProto) -> None:
        """Repeat a part that is the same for each image, where another part grows."""
        facts = [self._fact(name) for name in node.input]
        grown = [fact for fact in facts if fact is not None and fact.grows]
        if not grown or len(grown) == len(facts):
            return
        shapes = grown[0].shapes
        assert shapes is not None
        axis = _attribute(node, "axis") % len(shapes[0])
        if shapes[0][axis] != shapes[1][axis]:
            return
        first = next(
            name for name, fact in zip(node.input, facts, strict=True) if fact and fact.grows
        )
        for index, fact in enumerate(facts):
            if fact is not None and not fact.grows and fact.shapes is not None:
                node.input[index] = self._repeat(node.input[index], fact, first, shapes)

    def _repeat(self, part: str, fact: _Fact, like: str, shapes: tuple[Shape, Shape]) -> str:
        """Return `part` repeated along the axes in which `like` grows."""
        assert fact.shapes is not None
        sides = []
        shape = self._nodes.add("Shape", like)
        for axis, (small, great) in enumerate(zip(*shapes, strict=True)):
            if small != great:
                if fact.shapes[0][axis] != 1:
                    part = self._nodes.cut(part, axis, 0, 1)
                sides.append(self._nodes.cut(shape, 0, axis, axis + 1))
            else:
                sides.append(self._nodes.constant([1]))
        return self._nodes.add("Expand", part, self._nodes.add("Concat", *sides, axis=0))

    def _shrink_constants(self, node: onnx.NodeProto) -> None:
        """Cut a constant that has the same row for each image to one row, which is broadcast."""
        if self._batch == 1 or node.op_type not in _BROADCASTING:
            return
        facts = [self._fact(name) for name in node.input]
        if not any(fact and fact.grows for fact in facts):
            return
        for index, fact in enumerate(facts):
            if fact is None or fact.grows or fact.shapes is None:
                continue
            shape = fact.shapes[0]
            ranks = [len(other.shapes[0]) for other in facts if other and other.shapes]
            if len(shape) == max(ranks) and shape[0] == self._batch:
                node.input[index] = self._nodes.cut(node.input[index], 0, 0, 1)

    # Facts.

    def _fact(self, name: str) -> _Fact | None:
        return self._facts.get(name)

    def _constant(self, values: Sequence[int]) -> str:
        name = self._nodes.constant(values)
        self._facts[name] = _constant(self._graph.initializer[-1])
        return name

    def _is_constant(self, fact: _Fact) -> bool:
        return fact.values is not None and np.array_equal(*fact.values)

    def _inferred(self, node: onnx.NodeProto) -> tuple[Shape, Shape] | None:
        """Return the shapes of the node's first result, None where they are not known."""
        facts = self._results(node)
        return facts[0].shapes if facts else None

    def _infer(self, node: onnx.NodeProto) -> None:
        for name in node.input:  # initializers that a rule has just made
            if name and name not in self._facts:
                tensor = next((t for t in self._graph.initializer if t.name == name), None)
                if tensor is not None:
                    self._facts[name] = _constant(tensor)
        for name, fact in zip(node.output, self._results(node), strict=False):
            if name:
                self._facts[name] = fact

    def _results(self, node: onnx.NodeProto) -> list[_Fact]:
        """Return the facts of the node's results; fewer where they are not known."""
        if any(True for _ in subgraphs(node)):
            return []
        inputs = [self._fact(name) for name in node.input if name]
        if any(fact is None for fact in inputs):
            return []
        types = [self._infer_types(node, index) for index in (0, 1)]
        results = []
        for name in node.output:
            if not name:
                results.append(_Fact((onnx.TypeProto(), onnx.TypeProto())))
            elif name in types[0] and name in types[1]:
                results.append(_Fact((types[0][name], types[1][name])))
            else:
                return results
        self._evaluate(node, results)
        return results

    def _infer_types(self, node: onnx.NodeProto, index: int) -> dict[str, onnx.TypeProto]:
        types, data = {}, {}
        for name in node.input:
            fact = self._fact(name)
            if fact is None:
                continue
            types[name] = fact.types[index]
            if fact.values is not None:
                data[name] = numpy_helper.from_array(fact.values[index], name)
        try:
            schema = onnx.defs.get_schema(
                node.op_type, self._opsets.get(node.domain, 1), node.domain
            )
            return dict(
                shape_inference.infer_node_outputs(
                    schema,
                    node,
                    types,
                    data,
                    opset_imports=self._imports,
                    ir_version=self._ir_version,
                )
            )
        except (onnx.defs.SchemaError, shape_inference.InferenceError, RuntimeError):
            return {}

    def _evaluate(self, node: onnx.NodeProto, results: list[_Fact]) -> None:
        """Work out the values of small results, such as shapes, where all inputs have values."""
        sizes = [math.prod(shape) for fact in results if fact.shapes for shape in fact.shapes]
        if not sizes or max(sizes) > _LARGEST or len(results) != 1:
            return
        inputs = [name for name in node.input if name]
        facts = [self._facts[name] for name in inputs]
        if node.op_type == "Shape":
            shapes = facts[0].shapes
            if shapes is None:
                return
            start, end = _attribute(node, "start", 0), _attribute(node, "end", len(shapes[0]))
            small, great = (np.array(shape[start:end], np.int64) for shape in shapes)
            results[0].values = (small, great)
            return
        values = []
        for index in (0, 1):
            feed = {}
            for name, fact in zip(inputs, facts, strict=True):
                if fact.values is None:
                    return
                feed[name] = fact.values[index]
            try:
                (value,) = ReferenceEvaluator(_single(node, feed, self._imports)).run(None, feed)
            except Exception:  # the reference has no common error, and values are a help only
                return
            values.append(np.asarray(value))
        results[0].values = (values[0], values[1])


_BROADCASTING = {
    "Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Where", "Less", "Greater", "Equal", "MatMul",
}  # fmt: skip


def _axis_after_reshape(shapes: tuple[Shape, Shape], result: Shape, batch: int) -> int:
    """Return the axis of `result` that grows, for a reshape of a tensor with these two shapes.

    A reshape keeps the order of the values, so the sides before that axis have the same product.
    The images come first in an axis that they share with something else.

    Raises CanNotOpen if there is none.
    """
    small, great = shapes
    grown = next(axis for axis, side in enumerate(small) if side != great[axis])
    before = math.prod(small[:grown])
    for axis, side in enumerate(result):
        if math.prod(result[:axis]) == before and side % batch == 0:
            return axis
    raise CanNotOpen("a Reshape splits the batch axis")


def _constant(tensor: onnx.TensorProto) -> _Fact:
    type_ = helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
    small = math.prod(tensor.dims) <= _LARGEST
    if not small or tensor.data_location == onnx.TensorProto.EXTERNAL:
        return _Fact((type_, type_))
    value = numpy_helper.to_array(tensor)
    return _Fact((type_, type_), (value, value))


def _shape(type_: onnx.TypeProto) -> Shape | None:
    if not type_.HasField("tensor_type") or not type_.tensor_type.HasField("shape"):
        return None
    dims = type_.tensor_type.shape.dim
    if not all(dim.HasField("dim_value") for dim in dims):
        return None
    return tuple(dim.dim_value for dim in dims)


def _attribute(node: onnx.NodeProto, name: str, default: int = 0) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def _single(
    node: onnx.NodeProto,
    feed: dict[str, npt.NDArray],  # type: ignore[type-arg]
    imports: list[onnx.OperatorSetIdProto],
) -> onnx.ModelProto:
    """Return a model of one node."""
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )
        for name, value in feed.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
    graph = helper.make_graph([node], "one", inputs, outputs)
    return helper.make_model(graph, opset_imports=imports)
