"""The order of a graph's nodes."""

import pytest
from onnx import helper

from sluice.errors import UnsupportedModel
from sluice.repository.nodes import sorted_copy


def test_nodes_in_any_order_come_behind_those_that_they_read() -> None:
    """Tools for half precision append casts at the end, and ONNX Runtime reads such graphs."""
    nodes = [
        helper.make_node("Neg", ["b"], ["c"]),
        helper.make_node("Abs", ["a"], ["b"]),
        helper.make_node("Relu", ["x"], ["a"]),
    ]
    model = helper.make_model(helper.make_graph(nodes, "g", [], []))
    assert [node.op_type for node in sorted_copy(model).graph.node] == ["Relu", "Abs", "Neg"]
    assert [node.op_type for node in model.graph.node] == ["Neg", "Abs", "Relu"]


def test_a_circle_of_nodes_is_refused() -> None:
    nodes = [helper.make_node("Neg", ["b"], ["a"]), helper.make_node("Abs", ["a"], ["b"])]
    with pytest.raises(UnsupportedModel, match="circle"):
        sorted_copy(helper.make_model(helper.make_graph(nodes, "g", [], [])))
