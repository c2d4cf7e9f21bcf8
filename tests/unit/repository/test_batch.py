"""Opening the batch axis, on one tiny graph for each way in which a graph holds its batch."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from sluice.repository.batch import open_batch
from tests.support import tiny

node = helper.make_node


def ints(name, *values):
    return tiny.tensor(values, np.int64, name)


def floats(name, *shape):
    return tiny.tensor(np.arange(np.prod(shape)).reshape(shape) / 7, np.float32, name)


# Each graph takes images (B, 3, 4, 4): nodes, and initializers, for B images.


def folded_with_another_axis(b):
    return [
        node("Reshape", ["images", "rows"], ["x"]),
        node("Softmax", ["x"], ["y"], axis=1),
        node("Reshape", ["y", "back"], ["output0"]),
    ], [ints("rows", b * 3, 16), ints("back", b, 3, 16)]


def behind_another_axis(b):
    return [
        node("Reshape", ["images", "rows"], ["x"]),
        node("Transpose", ["x"], ["turned"], perm=[2, 0, 1]),
        node("Reshape", ["turned", "wide"], ["y"]),
        node("Softmax", ["y"], ["z"], axis=0),
        node("Reshape", ["z", "narrow"], ["n"]),
        node("Transpose", ["n"], ["output0"], perm=[1, 0, 2]),
    ], [ints("rows", b, 3, 16), ints("wide", 16, b * 3), ints("narrow", 16, b, 3)]


def split_into_heads(b):
    """Attention as PyTorch's MultiheadAttention writes it: (length, B * heads, width)."""
    return [
        node("Reshape", ["images", "tokens"], ["x"]),
        node("Transpose", ["x"], ["sequence"], perm=[1, 0, 2]),
        node("Reshape", ["sequence", "heads"], ["query"]),
        node("Transpose", ["query"], ["q"], perm=[1, 0, 2]),
        node("Transpose", ["query"], ["k"], perm=[1, 2, 0]),
        node("MatMul", ["q", "k"], ["scores"]),
        node("Softmax", ["scores"], ["weights"], axis=-1),
        node("MatMul", ["weights", "q"], ["mixed"]),
        node("Transpose", ["mixed"], ["m"], perm=[1, 0, 2]),
        node("Reshape", ["m", "joined"], ["j"]),
        node("Transpose", ["j"], ["output0"], perm=[1, 0, 2]),
    ], [ints("tokens", b, 3, 16), ints("heads", 3, b * 4, 4), ints("joined", 3, b, 16)]


def the_rest_inferred(b):
    return [node("Reshape", ["images", "shape"], ["output0"])], [ints("shape", b, -1)]


def the_batch_inferred_already(b):
    return [node("Reshape", ["images", "shape"], ["output0"])], [ints("shape", -1, 3, 16)]


def copied_already(b):
    return [node("Reshape", ["images", "shape"], ["output0"])], [ints("shape", 0, 3, -1)]


def a_constant_node(b):
    return [
        node("Constant", [], ["shape"], value=ints("v", b, 48)),
        node("Reshape", ["images", "shape"], ["output0"]),
    ], []


def a_computed_shape(b):
    return [
        node("Shape", ["images"], ["all"]),
        node("Gather", ["all", "one"], ["channels"]),
        node("Mul", ["channels", "sixteen"], ["width"]),
        node("Concat", ["count", "width"], ["shape"], axis=0),
        node("Reshape", ["images", "shape"], ["output0"]),
    ], [ints("one", 1), ints("sixteen", 16), ints("count", b)]


def an_expanded_constant(b):
    return [
        node("Expand", ["constant", "shape"], ["x"]),
        node("Mul", ["images", "x"], ["output0"]),
    ], [floats("constant", 1, 3, 4, 4), ints("shape", b, 3, 4, 4)]


def an_expanded_image(b):
    return [
        node("Unsqueeze", ["images", "one"], ["x"]),
        node("Expand", ["x", "shape"], ["output0"]),
    ], [ints("one", 1), ints("shape", b, 2, 3, 4, 4)]


def a_tiled_constant(b):
    return [
        node("Tile", ["constant", "repeats"], ["x"]),
        node("Add", ["images", "x"], ["output0"]),
    ], [floats("constant", 1, 3, 4, 4), ints("repeats", b, 1, 1, 1)]


def resized_to_sizes(b):
    return [
        node("Resize", ["images", "", "", "sizes"], ["x"], mode="nearest"),
        node("Sigmoid", ["x"], ["output0"]),
    ], [ints("sizes", b, 3, 8, 8)]


def a_constant_of_shape(b):
    value = tiny.tensor([0.5], np.float32)
    return [
        node("ConstantOfShape", ["shape"], ["x"], value=value),
        node("Add", ["images", "x"], ["output0"]),
    ], [ints("shape", b, 3, 4, 4)]


def joined_with_a_constant(b):
    repeated = np.repeat(np.arange(16).reshape(1, 1, 4, 4), b, axis=0)
    return [node("Concat", ["images", "more"], ["output0"], axis=1)], [
        tiny.tensor(repeated, np.float32, "more")
    ]


def a_constant_an_image(b):
    repeated = np.repeat(np.arange(48).reshape(1, 3, 4, 4), b, axis=0)
    return [node("Add", ["images", "more"], ["output0"])], [
        tiny.tensor(repeated, np.float32, "more")
    ]


OPENABLE = [
    folded_with_another_axis,
    behind_another_axis,
    split_into_heads,
    the_rest_inferred,
    the_batch_inferred_already,
    copied_already,
    a_constant_node,
    a_computed_shape,
    an_expanded_constant,
    an_expanded_image,
    a_tiled_constant,
    resized_to_sizes,
    a_constant_of_shape,
    joined_with_a_constant,
    a_constant_an_image,
]


def described(graph, batch):
    nodes, initializers = graph(batch)
    made = tiny.model(nodes, [batch, 3, 4, 4], {"output0": [batch]}, initializers)
    images = np.random.default_rng(3).random((batch, 3, 4, 4), np.float32)
    (array,) = run(made, images)
    made.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("output0", TensorProto.FLOAT, array.shape)
    )
    # A note of a shape, as exporters leave them, that is wrong for any other number of images.
    made.graph.value_info.append(
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["stale", "note"])
    )
    return tiny.described(made, "anchors", imgsz=(4, 4))


def run(made, images):
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"images": images})


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("graph", OPENABLE, ids=lambda graph: graph.__name__)
def test_the_axis_is_opened(graph, batch):
    file, before = described(graph, batch)
    opened, description = open_batch(file, before)
    assert description.notes == ()
    assert description.batch == description.input.shape[0] == -1
    assert opened.inputs == (description.input,)
    assert opened.outputs == description.outputs
    assert description.outputs[0].shape == (-1, *before.outputs[0].shape[1:])
    assert not opened.model.graph.value_info
    images = np.random.default_rng(5).random((6, 3, 4, 4), np.float32)
    (together,) = run(opened.model, images)
    for i, row in enumerate(together):
        (alone,) = run(file.model, images[i : i + 1].repeat(batch, axis=0))
        np.testing.assert_allclose(row, alone[0], rtol=1e-6)


def images_run_one_by_one(b):
    """A graph that was unrolled an image, like the suppression that exporters add."""
    first = [f"first{i}" for i in range(b)]
    return [
        node("Split", ["images"], first, axis=0),
        *(node("Softmax", [name], [f"s{name}"], axis=1) for name in first),
        node("Concat", [f"s{name}" for name in first], ["output0"], axis=0),
    ], []


def the_axis_is_squeezed(b):
    return [
        node("Gather", ["images", "zero"], ["x"], axis=0),
        node("Softmax", ["x"], ["y"], axis=0),
        node("Expand", ["y", "shape"], ["output0"]),
    ], [tiny.tensor(0, np.int64, "zero"), ints("shape", b, 3, 4, 4)]


def images_are_mixed(b):
    return [
        node("ReduceMean", ["images"], ["mean"], axes=[0], keepdims=1),
        node("Sub", ["images", "mean"], ["output0"]),
    ], []


@pytest.mark.parametrize(
    ("graph", "batch"),
    [
        (images_run_one_by_one, 4),
        (the_axis_is_squeezed, 1),
        (the_axis_is_squeezed, 4),
        (images_are_mixed, 1),
        (images_are_mixed, 4),
    ],
)
def test_a_graph_that_can_not_be_opened_stays_and_the_note_says_the_cost(graph, batch):
    file, before = described(graph, batch)
    same, description = open_batch(file, before)
    assert same is file
    assert (description.batch, description.input) == (batch, before.input)
    (note,) = description.notes
    assert ("computation of 4" if batch == 4 else "one by one") in note


def test_an_open_axis_is_left_alone():
    nodes, initializers = copied_already(1)
    made = tiny.model(nodes, ["n", 3, 4, 4], {"output0": ["n", 3, 16]}, initializers)
    file, description = tiny.described(made, "anchors", imgsz=(4, 4))
    assert open_batch(file, description) == (file, description)


def test_an_open_axis_that_mixes_images_is_fixed_to_one():
    nodes, initializers = images_are_mixed(1)
    made = tiny.model(nodes, ["n", 3, 4, 4], {"output0": ["n", 3, 4, 4]}, initializers)
    file, description = open_batch(*tiny.described(made, "anchors", imgsz=(4, 4)))
    assert description.batch == 1
    assert description.input.shape == (1, 3, 4, 4)
    assert file.inputs == (description.input,)
    assert file.outputs == description.outputs
    assert "one by one" in description.notes[0]


def test_outputs_that_nothing_reads_are_left_out():
    nodes, initializers = the_rest_inferred(1)
    made = tiny.model(
        [*nodes, node("Identity", ["images"], ["feature"])],
        [1, 3, 4, 4],
        {"output0": [1, 48], "feature": [1, 3, 4, 4]},
        initializers,
    )
    file, description = tiny.described(made, "anchors", imgsz=(4, 4))
    opened, _ = open_batch(file, replace(description, outputs=description.outputs[:1]))
    assert [output.name for output in opened.outputs] == ["output0"]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("opset", [11, 13, 18, tiny.NEWEST_OPSET])
def test_types_and_opsets(opset, dtype):
    random = np.random.default_rng(2)
    made = tiny.detector(
        random.random((6, 5)), random.random((6, 5)), batch=4, opset=opset, dtype=dtype
    )
    file, description = open_batch(*tiny.described(made, "anchor-free"))
    assert description.notes == ()
    assert file.outputs[0].shape == (-1, 6, 5)
