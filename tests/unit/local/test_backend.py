"""The modules of the Triton backend that need no Triton.

Only Triton's own processes have these modules on the import path.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.local.paths import BACKENDS

FOLDER = BACKENDS / "onnxruntime"
sys.path.insert(0, str(FOLDER))
import batches  # noqa: E402
import engines  # noqa: E402
from signature import Signature, Tensor  # noqa: E402

sys.path.remove(str(FOLDER))


class Doubling:
    """An engine with the output y = 2 x.

    Fails on negative numbers, and reuses the memory of its outputs.
    """

    def __init__(self):
        self.runs = []
        self.memory = np.empty((64, 4), np.float32)

    def run(self, outputs, feed):
        x = feed["x"]
        self.runs.append(len(x))
        if (x < 0).any():
            raise RuntimeError("a negative number")
        self.memory[: len(x)] = 2 * x
        return [self.memory[: len(x)] for _ in outputs]


def feed(rows, value, columns=4):
    return {"x": np.full((rows, columns), value, np.float32)}


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(-1, 50)), min_size=1, max_size=8))
def test_each_feed_gets_its_own_rows(sizes):
    engine = Doubling()
    feeds = [feed(rows, value) for rows, value in sizes]
    answers = batches.run_each(engine.run, ["y"], feeds)
    for (rows, value), answer in zip(sizes, answers, strict=True):
        if value < 0:
            assert isinstance(answer, RuntimeError)
        else:
            np.testing.assert_array_equal(answer["y"], np.full((rows, 4), 2 * value, np.float32))
    if all(value >= 0 for _, value in sizes):
        assert engine.runs == [sum(rows for rows, _ in sizes)]


def test_a_single_feed_is_not_copied():
    arrays = []
    single = feed(2, 1)

    def engine(outputs, feed):
        arrays.append(feed["x"])
        return [feed["x"]]

    batches.run(engine, ["y"], [single])
    assert arrays[0] is single["x"]


def test_an_output_without_a_row_for_each_row_can_not_be_split():
    with pytest.raises(ValueError, match="'y' has the shape"):
        batches.run(lambda outputs, feed: [np.zeros(3)], ["y"], [feed(1, 1), feed(1, 1)])


def test_feeds_are_grouped_by_shape_and_type():
    feeds = [feed(1, 0), feed(2, 0, columns=5), feed(3, 0), {"x": np.zeros((1, 4), np.float64)}]
    assert batches.groups(feeds, batched=True) == [[0, 2], [1], [3]]
    assert batches.groups(feeds, batched=False) == [[0], [1], [2], [3]]


def test_the_union_of_requested_outputs_is_in_the_models_order():
    assert batches.union([{"c"}, {"a", "c"}], ["a", "b", "c"]) == ["a", "c"]


GRAPH = Signature(
    (Tensor("x", "TYPE_UINT8", (-1, 8, 8, 3)),), (Tensor("y", "TYPE_FP32", (-1, 7, -1)),)
)
CONFIG = {
    "max_batch_size": 4,
    "input": [{"name": "x", "data_type": "TYPE_UINT8", "dims": ["8", "8", "3"]}],
    "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": ["7", "-1"]}],
}


def changed(key, **fields):
    return CONFIG | {key: [CONFIG[key][0] | fields]}


def test_a_config_that_agrees_with_the_graph_is_accepted():
    GRAPH.check(CONFIG)
    GRAPH.check(CONFIG | {"output": []})


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (changed("output", dims=["8", "-1"]), r"dims \[8, -1\] in the configuration and \[7, -1\]"),
        (changed("output", dims=["-1"]), r"dims \[-1\]"),
        (
            changed("input", data_type="TYPE_FP32"),
            "TYPE_FP32 in the configuration and TYPE_UINT8 in the graph",
        ),
        (changed("input", name="image"), "needs inputs that the configuration does not name: x"),
        (changed("output", name="z"), "no output named 'z'; it has y"),
    ],
)
def test_a_config_that_disagrees_with_the_graph_is_refused(config, says):
    with pytest.raises(ValueError, match=says):
        GRAPH.check(config)


def test_a_graph_without_a_batch_axis_is_not_batched():
    graph = Signature((Tensor("x", "TYPE_UINT8", (1, 8, 8, 3)),), GRAPH.outputs)
    with pytest.raises(ValueError, match="max_batch_size: 0"):
        graph.check(CONFIG)
    assert not graph.batchable
    assert GRAPH.batchable


def test_a_tensors_entry_in_a_completed_config():
    assert GRAPH.inputs[0].entry(batched=True) == {
        "name": "x",
        "data_type": "TYPE_UINT8",
        "dims": [8, 8, 3],
    }
    assert GRAPH.inputs[0].entry(batched=False)["dims"] == [-1, 8, 8, 3]
    with pytest.raises(ValueError, match=r"tensor\(string\)"):
        Tensor("s", "tensor(string)", (-1,)).entry(batched=False)


@pytest.mark.parametrize(("text", "value"), [("", 7), ("0", 7), ("3", 3)])
def test_a_number_of_threads_is_read(text, value):
    assert engines.integer({"threads": text}, "threads", 7) == value
    assert engines.integer({}, "threads", 7) == 7


def test_a_number_of_threads_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="'threads' must be a number, not 'many'"):
        engines.integer({"threads": "many"}, "threads", 7)


def test_onnx_runtime_runs_a_real_graph(golden: Path):
    path = str(golden / "models" / "11-detect.onnx")
    engine = engines.OnnxRuntime(path, {"intra_op_thread_count": "1"}, threads=1)
    assert engine.signature == engines.look(path)
    assert engine.signature.inputs == (Tensor("images", "TYPE_FP32", (-1, 3, -1, -1)),)
    (array,) = engine.run(["output0"], {"images": np.zeros((2, 3, 64, 64), np.float32)})
    assert array.shape[:2] == (2, 8)
