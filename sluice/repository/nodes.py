"""New nodes for an ONNX graph, under names that nothing else in the graph has.

Every node is valid from opset 11 to the newest: https://onnx.ai/onnx/operators/
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from sluice.errors import UnsupportedModel

OLDEST_OPSET = 11  # TopK sorts, and Pad and Clip take tensors, from here on


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators that the model is written in."""
    return max(
        int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")
    )


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs inside a node, such as the branches of an If."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def sorted_copy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose nodes stand behind those that they read.

    ONNX asks for this order. ONNX Runtime's tool for half precision writes another one.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    waiting = list(copy.graph.node)
    pending = {output for node in waiting for output in node.output}
    order: list[onnx.NodeProto] = []
    while waiting:
        held: list[onnx.NodeProto] = []
        for node in waiting:
            if pending & _reads(node):
                held.append(node)
                continue
            order.append(node)
            pending.difference_update(node.output)
        if len(held) == len(waiting):
            raise UnsupportedModel("its nodes read each other in a circle; export it again")
        waiting = held
    del copy.graph.node[:]
    copy.graph.node.extend(order)
    return copy


def _reads(node: onnx.NodeProto) -> set[str]:
    """The tensors that a node reads, and the graphs inside it."""
    inner = (name for graph in subgraphs(node) for each in graph.node for name in _reads(each))
    return {*node.input, *inner}


def rename_uses(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Let every node that reads the tensor `old` read `new`, in subgraphs too."""
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new
        for inner in subgraphs(node):
            rename_uses(inner, old, new)


def check(model: onnx.ModelProto) -> None:
    """Raise UnsupportedModel if the graph is not valid. External weights are not looked for."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    # The checker looks for external files beside this process, so they become inputs here.
    external = [t for t in copy.graph.initializer if uses_external_data(t)]
    for tensor in external:
        copy.graph.initializer.remove(tensor)
        copy.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    try:
        onnx.checker.check_model(copy)
    except onnx.checker.ValidationError as error:
        raise UnsupportedModel(f"the changed graph is not valid: {error}") from error


class Nodes:
    """Nodes to add to a model's graph. `append` or `prepend` puts them in, once.

    Names of tensors are strings, as in ONNX; each method returns its result's name.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._opset = opset_of(model)
        self._taken = set(_names(model.graph))
        self._added: list[onnx.NodeProto] = []

    def name(self, wanted: str) -> str:
        """Reserve `wanted`, or a name like it if the graph has that already."""
        name, number = wanted, 1
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name

    def constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike = np.int64) -> str:
        """Add an initializer. Numbers are int64 unless `dtype` says otherwise."""
        name = self.name("sluice_constant")
        self._graph.initializer.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def add(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node with one result, whose name is `name` or a new one."""
        result = name or self.name(f"sluice_{operator.lower()}")
        self._node(operator, inputs, [result], attributes)
        return result

    def cast(self, tensor: str, dtype: npt.DTypeLike, name: str = "") -> str:
        """Convert a tensor to a numpy dtype."""
        to = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.add("Cast", tensor, name=name, to=to)

    def cut(self, tensor: str, axis: int, start: int, end: int) -> str:
        """Return the part from `start` to below `end` along `axis`."""
        ends = [self.constant([number]) for number in (start, end, axis)]
        return self.add("Slice", tensor, *ends)

    def greatest(self, tensor: str, axis: int) -> str:
        """Return the maximum along `axis`, which stays, with the size 1."""
        if self._opset < 18:
            return self.add("ReduceMax", tensor, axes=[axis], keepdims=1)
        return self.add("ReduceMax", tensor, self.constant([axis]), keepdims=1)

    def top(self, tensor: str, axis: int, count: int, *, largest: bool) -> tuple[str, str]:
        """Return the `count` greatest or least values along `axis`, and their indices, sorted."""
        results = [self.name("sluice_top"), self.name("sluice_index")]
        self._node(
            "TopK",
            (tensor, self.constant([count])),
            results,
            {"axis": axis, "largest": int(largest), "sorted": 1},
        )
        return results[0], results[1]

    def take(self) -> list[onnx.NodeProto]:
        """Return the nodes that are not in the graph yet; the caller puts them in."""
        taken, self._added = self._added, []
        return taken

    def append(self) -> None:
        """Put the nodes after those of the graph."""
        self._graph.node.extend(self.take())

    def prepend(self) -> None:
        """Put the nodes before those of the graph."""
        nodes = [*self.take(), *self._graph.node]
        del self._graph.node[:]
        self._graph.node.extend(nodes)

    def _node(
        self,
        operator: str,
        inputs: Sequence[str],
        results: Sequence[str],
        attributes: dict[str, Any],
    ) -> None:
        name = self.name(f"sluice/{operator}")
        self._added.append(helper.make_node(operator, inputs, results, name, **attributes))


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    for named in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        yield named.name
    for sparse in graph.sparse_initializer:
        yield sparse.values.name
    for node in graph.node:
        yield node.name
        yield from node.input
        yield from node.output
        for inner in subgraphs(node):
            yield from _names(inner)
