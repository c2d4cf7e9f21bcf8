"""Folding, on tiny graphs whose candidates are worked out by hand."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from sluice.models import ChannelOrder, Layout, Task
from sluice.repository.fold import fold
from sluice.repository.nodes import opset_of
from tests.support import tiny

OPSETS = [11, 13, 18, tiny.NEWEST_OPSET]

# Three anchors: cx, cy, w, h, and two classes. The scores grow with the red of the image.
BOXES = [[8, 8, 4, 4], [16, 16, 8, 8], [24, 24, 4, 8]]
SCORES = [[0.25, 0.5], [0.75, 0.125], [0.5, 0.5]]


def canvas(red, count=1, channels=3, size=(32, 32)):
    """Canvases of one colour: (red, 0, 255), or grey where there is one channel."""
    pixels = np.zeros((count, *size, channels), np.uint8)
    pixels[..., -1] = 255
    pixels[..., 0] = red
    return pixels


def outputs(file, pixels):
    session = onnxruntime.InferenceSession(
        file.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"images": pixels}), strict=True))


def anchor_free(boxes=BOXES, scores=SCORES, extras=(), **options):
    """A detector with the layout anchor-free: a column an anchor."""
    columns = np.array(boxes, float).T
    still = np.concatenate((columns, np.zeros((len(scores[0]), len(boxes)))))
    moving = np.concatenate((columns * 0, np.array(scores).T))
    if len(extras):
        still = np.concatenate((still, np.array(extras, float).T))
        moving = np.concatenate((moving, np.array(extras, float).T * 0))
    return tiny.detector(still, moving, **options)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_candidates_of_an_anchor_free_model(opset, dtype):
    made = anchor_free(batch="batch", opset=opset, dtype=dtype)
    file, description = fold(*tiny.described(made, "anchor-free"))
    assert description.notes == ()
    assert (description.layout, description.raw_layout) == (Layout.CANDIDATES, Layout.ANCHOR_FREE)
    assert [(o.name, o.shape) for o in description.outputs] == [
        ("candidates", (-1, 3, 6)),
        ("output0", (-1, 6, 3)),
    ]
    assert (description.input.dtype, description.input.shape) == ("UINT8", (-1, 32, 32, 3))
    assert description.channels_last
    assert file.inputs == (description.input,)
    assert file.outputs == description.outputs

    # White-red: the mean is 1, and the scores are those of the table. Of the equal classes of the
    # third anchor, the first counts. Of the equal anchors 0 and 2, the lower comes first.
    result = outputs(file, canvas(255))
    assert result["candidates"].dtype == np.float32
    np.testing.assert_array_equal(
        result["candidates"][0],
        [[16, 16, 8, 8, 0.75, 0], [8, 8, 4, 4, 0.5, 1], [24, 24, 4, 8, 0.5, 0]],
    )
    assert result["output0"].shape == (1, 6, 3)
    assert result["output0"].dtype == dtype
    # Each image of a batch has its own red: 51 of 255 is 0.2.
    result = outputs(file, np.concatenate((canvas(0), canvas(51))))
    np.testing.assert_allclose(result["candidates"][0, :, 4], [0, 0, 0])
    np.testing.assert_allclose(result["candidates"][1, :, 4], [0.15, 0.1, 0.1], rtol=1e-3)


@pytest.mark.parametrize("opset", OPSETS)
def test_candidates_of_an_anchors_model(opset):
    # objectness, then two classes; the objectness does not depend on the image here.
    still = [
        [*box, objectness, 0, 0] for box, objectness in zip(BOXES, (1, 0.5, 0.75), strict=True)
    ]
    moving = [[0, 0, 0, 0, 0, *scores] for scores in SCORES]
    made = tiny.detector(still, moving, batch="batch", opset=opset)
    file, description = fold(*tiny.described(made, "anchors"))
    assert description.raw_layout is Layout.ANCHORS
    # Products: 0.25 0.5 | 0.375 0.0625 | 0.375 0.375
    np.testing.assert_array_equal(
        outputs(file, canvas(255))["candidates"][0],
        [[8, 8, 4, 4, 0.5, 1], [16, 16, 8, 8, 0.375, 0], [24, 24, 4, 8, 0.375, 0]],
    )


def test_candidates_of_a_grid():
    """32 x 32 pixels have 16 cells of stride 8, 4 of stride 16, and 1 of stride 32."""
    still = np.zeros((21, 7))
    still[6] = [0.5, 0.25, 0, np.log(2), 1, 0.75, 0]  # row 1, column 2, of stride 8
    still[18] = [0.5, 0.5, 0, 0, 0.5, 0, 1]  # row 1, column 0, of stride 16
    still[20] = [0.5, 0.5, 0, np.log(0.5), 0.25, 1, 0]
    made = tiny.detector(still, still * 0, batch="batch")
    file, description = fold(*tiny.described(made, "grid"))
    assert (description.layout, description.raw_layout) == (Layout.CANDIDATES, Layout.ANCHORS)
    assert description.raw_output == "decoded"
    assert [(o.name, o.shape) for o in file.outputs] == [
        ("candidates", (-1, 21, 6)),
        ("decoded", (-1, 21, 7)),
    ]
    result = outputs(file, canvas(0))
    np.testing.assert_allclose(
        result["candidates"][0, :3],
        [[20, 10, 8, 16, 0.75, 0], [8, 24, 16, 16, 0.5, 1], [16, 16, 32, 16, 0.25, 0]],
        rtol=1e-6,
    )
    np.testing.assert_allclose(result["decoded"][0, 6], [20, 10, 8, 16, 1, 0.75, 0], rtol=1e-6)


def test_candidates_of_maps():
    """A map of 2 x 2 cells with two anchors, and one of 1 x 1. A logit of 0 means one half."""
    logit_3_4 = np.log(3)  # a sigmoid of 0.75
    first = np.full((2, 2, 2, 7), -100.0)
    first[..., :4] = 0
    first[1, 0, 1, 4:] = [100, logit_3_4, -100]  # the second anchor, row 0, column 1
    second = np.full((2, 1, 1, 7), -100.0)
    second[0, 0, 0] = [logit_3_4, 0, 0, logit_3_4, 0, -100, 100]
    made = two_outputs(first, second)
    file, description = fold(
        *tiny.described(made, "maps", anchors=(((4, 4), (10, 6)), ((20, 20), (30, 8))))
    )
    assert description.raw_output == "decoded"
    assert [(o.name, o.shape) for o in file.outputs] == [
        ("candidates", (-1, 10, 6)),
        ("decoded", (-1, 10, 7)),
    ]
    # Stride 16: x = (0.5 * 2 - 0.5 + 1) * 16. Stride 32: x = (0.75 * 2 - 0.5) * 32.
    # A size is (2 * 0.5)^2 or (2 * 0.75)^2 anchors.
    np.testing.assert_allclose(
        outputs(file, canvas(0))["candidates"][0, :2],
        [[24, 8, 10, 6, 0.75, 0], [32, 16, 20, 45, 0.5, 1]],
        rtol=1e-5,
    )


def two_outputs(first, second):
    """A model with two constant outputs, each with an axis for the images."""
    one = tiny.detector(first, first * 0, batch="batch", output="first")
    other = tiny.detector(second, second * 0, batch="batch", output="second")
    prefixed = onnx.compose.add_prefix_graph(other.graph, "b/", rename_inputs=False)
    one.graph.node.extend(prefixed.node)
    one.graph.initializer.extend(prefixed.initializer)
    one.graph.output.extend(prefixed.output)
    return one


@pytest.mark.parametrize(("extras", "count"), [(0, 2000), (1, 2000), (2, 1000)])
def test_the_number_of_candidates(extras, count):
    random = np.random.default_rng(1)
    boxes = random.uniform(1, 31, (3000, 4))
    scores = random.choice([0.125, 0.25, 0.5, 0.75], (3000, 2))  # many equal scores
    more = random.uniform(-1, 1, (3000, extras))
    made = anchor_free(boxes, scores, more, batch="batch")
    task = {0: Task.DETECT, 1: Task.OBB, 2: Task.POSE}[extras]
    kpt_shape = (1, 2) if task is Task.POSE else None
    file, description = fold(
        *tiny.described(made, "anchor-free", task=task, extras=extras, kpt_shape=kpt_shape)
    )
    assert description.notes == ()
    rows = outputs(file, canvas(255))["candidates"][0]
    best = np.argsort(-scores.max(axis=1), kind="stable")[:count]
    wanted = np.column_stack(
        (boxes[best], scores[best].max(axis=1), scores[best].argmax(axis=1), more[best])
    )
    np.testing.assert_array_equal(rows, wanted.astype(np.float32))


def test_prototypes_stay_an_output():
    made = anchor_free(extras=np.ones((3, 4)), batch="batch")
    prototypes = tiny.detector(np.ones((4, 8, 8)), np.zeros((4, 8, 8)), batch="b", output="protos")
    prefixed = onnx.compose.add_prefix_graph(prototypes.graph, "b/", rename_inputs=False)
    made.graph.node.extend(prefixed.node)
    made.graph.initializer.extend(prefixed.initializer)
    made.graph.output.extend(prefixed.output)
    file, description = fold(*tiny.described(made, "anchor-free", task=Task.SEGMENT, extras=4))
    assert description.notes == ()
    assert [(o.name, o.shape) for o in file.outputs] == [
        ("candidates", (-1, 3, 10)),
        ("output0", (-1, 10, 3)),
        ("b/protos", (-1, 4, 8, 8)),
    ]


@pytest.mark.parametrize(
    ("options", "red", "mean"),
    [
        ({}, 51, 0.2),
        ({"pixel_max": 255}, 51, 51),
        (
            {"channel_order": ChannelOrder.BGR},
            51,
            1,
        ),  # the model's first channel is the image's blue
        ({"channel_order": ChannelOrder.BGR, "pixel_max": 255}, 51, 255),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_the_front_prepares_pixels_as_the_worker_would(options, red, mean, dtype):
    made = tiny.detector([0, 0], [1, 1], batch="batch", dtype=dtype)
    file, description = fold(*tiny.described(made, "end-to-end", task=Task.CLASSIFY, **options))
    assert description.notes == ()
    assert (description.layout, description.channel_order) == (Layout.END_TO_END, ChannelOrder.RGB)
    np.testing.assert_allclose(outputs(file, canvas(red))["output0"], mean, rtol=1e-3)


def test_a_grey_rectangle_and_open_sides():
    made = anchor_free(batch="batch", size=(16, 48), channels=1, open_sides=True)
    file, description = fold(*tiny.described(made, "anchor-free", imgsz=(16, 48)))
    assert description.notes == ()
    assert description.input.shape == (-1, 16, 48, 1)
    rows = outputs(file, canvas(255, channels=1, size=(16, 48)))["candidates"]
    np.testing.assert_array_equal(rows[0, :, 4], [0.75, 0.5, 0.5])


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_number_of_images_stays_fixed(batch):
    file, description = fold(*tiny.described(anchor_free(batch=batch), "anchor-free"))
    assert description.notes == ()
    assert description.batch == batch
    assert [o.shape for o in file.outputs] == [(batch, 3, 6), (batch, 6, 3)]
    assert outputs(file, canvas(255, batch))["candidates"].shape == (batch, 3, 6)


def test_uint8_pixels_with_the_channels_first():
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["float"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["output0"]),
    ]
    made = tiny.model(nodes, ["n", 3, 32, 32], {"output0": ["n", 3]})
    made.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    file, description = fold(
        *tiny.described(made, "anchor-free", task=Task.CLASSIFY, names=("r", "g", "b"))
    )
    assert (description.notes, description.layout) == ((), Layout.ANCHOR_FREE)
    np.testing.assert_array_equal(outputs(file, canvas(51))["output0"], [[51, 0, 255]])


def test_rows_of_all_images_keep_their_open_axis():
    """YOLOv7's end2end: an image's index, x1, y1, x2, y2, class id, score."""
    made = tiny.detector([[0, 4, 4, 12, 12, 1, 0]], [[0, 0, 0, 0, 0, 0, 0.75]], batch=1)
    made.graph.node[-1].output[0] = "one"
    made.graph.node.append(helper.make_node("Squeeze", ["one", "zero"], ["output0"]))
    made.graph.initializer.append(tiny.tensor([0], np.int64, "zero"))
    del made.graph.output[0].type.tensor_type.shape.dim[0]
    made.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "rows"
    file, description = fold(*tiny.described(made, "rows"))
    assert description.notes == ()
    assert [(o.name, o.shape) for o in file.outputs] == [("output0", (-1, 7))]
    np.testing.assert_allclose(outputs(file, canvas(255))["output0"], [[0, 4, 4, 12, 12, 1, 0.75]])


def test_names_that_the_graph_has_already_are_left_to_it():
    made = anchor_free(batch="batch", output="candidates")
    made.graph.node[0].output[0] = made.graph.node[1].input[0] = "sluice_constant"
    file, description = fold(*tiny.described(made, "anchor-free"))
    assert [o.name for o in file.outputs] == ["candidates_2", "candidates"]
    assert description.raw_output == "candidates"
    names = [name for node in file.model.graph.node for name in node.output]
    assert len(names) == len(set(names))


def test_a_branch_of_the_graph_reads_the_prepared_image():
    """An If whose branches read the input of the graph around them."""
    made = tiny.detector([0, 0], [1, 1], batch="batch")
    branch = helper.make_graph(
        [helper.make_node("Identity", ["images"], ["chosen"])],
        "branch",
        [],
        [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, ["batch", 3, 32, 32])],
    )
    made.graph.node[0].input[0] = "image"
    made.graph.node.insert(
        0, helper.make_node("If", ["yes"], ["image"], then_branch=branch, else_branch=branch)
    )
    made.graph.initializer.append(tiny.tensor(True, bool, "yes"))
    file, description = fold(*tiny.described(made, "end-to-end", task=Task.CLASSIFY))
    assert description.notes == ()
    np.testing.assert_allclose(outputs(file, canvas(51))["output0"], 0.2, rtol=1e-5)


def test_metadata_and_opset_are_kept():
    made = anchor_free(batch="batch", opset=12)
    file, _ = fold(*tiny.described(made, "anchor-free"))
    assert file.metadata == {"author": "a test", "names": "{0: 'a', 1: 'b'}"}
    assert opset_of(file.model) == file.opset == 12
    assert len(made.graph.output) == 1, "the graph that came is not changed"


def test_external_weights_stay_where_they_are(tmp_path):
    made = anchor_free(batch="batch")
    path = tmp_path / "model.onnx"
    onnx.save(made, path, save_as_external_data=True, location="model.data", size_threshold=200)
    made = onnx.load(path, load_external_data=False)
    file, description = fold(*tiny.described(made, "anchor-free", path=path))
    assert description.notes == ()
    onnx.save(file.model, tmp_path / "folded.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "folded.onnx")
    (rows,) = session.run(["candidates"], {"images": canvas(255)})
    assert rows[0, 0, 4] == 0.75


def test_a_graph_of_an_old_opset_is_served_without_folding():
    made = anchor_free(batch="batch", opset=10)
    original = tiny.described(made, "anchor-free")
    file, description = fold(*original)
    assert file is original[0]
    assert description.layout is Layout.ANCHOR_FREE
    (note,) = description.notes
    assert "without folding" in note
    assert "opset" in note
