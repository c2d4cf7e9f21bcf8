"""The modules of the Triton backend that need no Triton.

Only Triton's own processes have these modules on the import path.
"""

import mmap
import queue
import sys
import tempfile
import threading
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from sluice.local.paths import BACKENDS

FOLDER = BACKENDS / "onnxruntime"
sys.path.insert(0, str(FOLDER))
import engines  # noqa: E402
import lanes  # noqa: E402
import rest  # noqa: E402
from signature import Signature, Tensor  # noqa: E402

sys.path.remove(str(FOLDER))


def names(lane):
    return lambda outputs, feed: lane


def test_jobs_run_side_by_side_and_start_in_order():
    started, gate, side_by_side = [], threading.Event(), threading.Barrier(3, timeout=10)

    def job(number, run):
        started.append((number, run([], {})))
        if number < 2:
            side_by_side.wait()
            gate.wait(10)

    both = lanes.Lanes([names("a"), names("b")])
    assert both.idle
    both.start(partial(job, number) for number in range(2))
    assert sorted(lane for _, lane in started) == ["a", "b"]
    side_by_side.wait()
    assert not both.idle

    # Four jobs wait for a lane: `start` returns only when the last has one.
    starting = threading.Thread(target=both.start, args=([partial(job, n) for n in range(2, 6)],))
    starting.start()
    assert len(started) == 2
    gate.set()
    starting.join(10)
    both.finish()
    assert both.idle
    assert {number for number, _ in started} == set(range(6))


def test_one_lane_keeps_the_order_of_its_jobs():
    order = []
    one = lanes.Lanes([names("a")])
    one.start(partial(lambda number, run: order.append(number), number) for number in range(50))
    one.finish()
    assert order == list(range(50))


@pytest.mark.parametrize(
    ("settings", "threads", "lanes"),
    [
        ({}, 1, 1),
        ({}, 2, 2),
        ({}, 64, engines.MAX_LANES),
        ({"num_streams": "1"}, 16, 1),
        ({"num_streams": "3"}, 2, 3),
    ],
)
def test_the_number_of_runs_side_by_side(settings, threads, lanes):
    assert engines.lane_count(settings, threads) == lanes


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
    assert engine.lanes() == []


@pytest.mark.parametrize("threads", [2, 16])
def test_lanes_of_onnx_runtime_give_the_answers_of_a_run_alone(golden: Path, threads):
    """With 2 threads the lanes have a session of one thread; with 16 they share the only one."""
    path = str(golden / "models" / "11-detect.onnx")
    engine = engines.OnnxRuntime(path, {}, threads)
    runs = engine.lanes()
    assert len(runs) == min(threads, engines.MAX_LANES)
    feeds = [
        {"images": np.random.default_rng(seed).random((1, 3, 64, 64), np.float32)}
        for seed in range(6)
    ]
    answers = {}
    side = lanes.Lanes(runs)
    side.start(
        partial(lambda number, run: answers.update({number: run(["output0"], feeds[number])}), n)
        for n in range(6)
    )
    side.finish()
    for number, feed in enumerate(feeds):
        (alone,) = engine.run(["output0"], feed)
        np.testing.assert_allclose(answers[number][0], alone, rtol=1e-4, atol=1e-4)


def test_sessions_of_a_model_have_one_copy_of_its_weights(golden: Path, tmp_path, monkeypatch):
    """Both sessions map one file, which is gone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    engine = engines.OnnxRuntime(str(golden / "models" / "11-detect.onnx"), {}, threads=2)
    mapped = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    weights = [line for line in mapped if str(tmp_path) in " ".join(line[5:])]
    assert len({line[4] for line in weights}) == 1
    pages = Counter()
    for line in weights:
        start, end = (int(address, 16) for address in line[0].split("-"))
        offset = int(line[2], 16)
        pages.update(range(offset, offset + end - start, mmap.PAGESIZE))
    assert min(pages.values()) >= 2
    assert all(line[-1] == "(deleted)" for line in weights)
    assert list(tmp_path.iterdir()) == []
    assert engine.signature.inputs


def test_without_room_for_files_each_session_has_its_weights(golden: Path, tmp_path, monkeypatch):
    path = str(golden / "models" / "11-detect.onnx")
    feed = {"images": np.random.default_rng(0).random((1, 3, 64, 64), np.float32)}
    (shared,) = engines.OnnxRuntime(path, {}, threads=2).lanes()[0](["output0"], feed)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    (own,) = engines.OnnxRuntime(path, {}, threads=2).lanes()[0](["output0"], feed)
    np.testing.assert_array_equal(shared, own)


@pytest.mark.parametrize(("settings", "on"), [({}, False), ({"enable_mem_pattern": "1"}, True)])
def test_a_memory_pattern_is_used_where_the_config_asks(settings, on):
    assert engines.session_options(settings, 1).enable_mem_pattern is on


def test_the_rest_begins_once_after_the_last_work():
    pauses, begun = queue.SimpleQueue(), queue.SimpleQueue()
    paused = queue.SimpleQueue()

    def sleep(seconds):
        paused.put(seconds)
        pauses.get(timeout=10)

    idle = rest.Rest(lambda: begun.put(True), 5.0, sleep)
    assert paused.empty()
    for _ in range(2):
        idle.end()
        assert paused.get(timeout=10) == 5.0
        idle.end()
        pauses.put(None)
        assert paused.get(timeout=10) == 5.0  # there was work during the pause
        assert begun.empty()
        pauses.put(None)
        begun.get(timeout=10)
    assert paused.empty()


@pytest.mark.parametrize("settings", [{}, {"enable_mem_arena": "0"}])
def test_onnx_runtime_gives_memory_back(golden: Path, settings):
    def resident_kb():
        return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])

    engine = engines.OnnxRuntime(str(golden / "models" / "11-detect.onnx"), settings, 1)
    feed = {"images": np.random.default_rng(0).random((1, 3, 640, 640), np.float32)}
    (first,) = engine.run(["output0"], feed)
    before = resident_kb()
    engine.release()
    assert resident_kb() < before - 1000
    (again,) = engine.run(["output0"], feed)
    np.testing.assert_array_equal(first, again)
