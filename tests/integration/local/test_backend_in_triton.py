"""Sluice's "onnxruntime" backend, in the real Triton."""

import queue
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from sluice.local.paths import CHECKOUT
from sluice.local.stack import Stack, StackConfig
from tests.support.waiting import until

from .conftest import BOOL, DOUBLE, FLOAT, FLOAT16, INT32, INT64, OPENVINO, UINT8, adder, onnx_graph

pytestmark = pytest.mark.integration

TYPES = {
    "FP32": FLOAT,
    "UINT8": UINT8,
    "INT32": INT32,
    "INT64": INT64,
    "BOOL": BOOL,
    "FP16": FLOAT16,
    "FP64": DOUBLE,
}
BATCHING = "max_batch_size: 8\ndynamic_batching { max_queue_delay_microseconds: 300000 }\n"
CODES = CHECKOUT / "model_repository" / "codes"


def pick() -> bytes:
    """The graph y = table[x], which fails on an index outside the table."""
    table = np.arange(4, dtype=np.float32) * 10
    return onnx_graph(
        [("Gather", ["table", "x"], ["y"])],
        {"x": (INT64, ["n", 1])},
        {"y": (FLOAT, ["n", 1])},
        {"table": (FLOAT, [4], table.tobytes())},
    )


def gather() -> bytes:
    """The graph y = table[x] by column. OpenVINO wants as many columns in x as the table has."""
    table = np.arange(20, dtype=np.float32).reshape(4, 5)
    return onnx_graph(
        [("GatherElements", ["table", "x"], ["y"])],
        {"x": (INT64, ["n", 3])},
        {"y": (FLOAT, ["n", 3])},
        {"table": (FLOAT, [4, 5], table.tobytes())},
    )


@pytest.fixture(scope="module")
def messages() -> list[str]:
    """The stack's messages during its start."""
    return []


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, messages: list[str]) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("triton")
    add = adder(folder / "models")
    for name, dtype in TYPES.items():
        kinds = {"x": (dtype, ["n", 3])}, {"y": (dtype, ["n", 3])}
        add(f"type-{name.lower()}", onnx_graph([("Identity", ["x"], ["y"])], *kinds), "")
    add("pick", pick(), BATCHING)
    add("sequence", pick(), "max_batch_size: 4\nsequence_batching { }\n")
    add("pick-openvino", pick(), BATCHING + OPENVINO)
    add("gather", gather(), OPENVINO)
    fork = onnx_graph(
        [("Neg", ["x"], ["minus"]), ("Abs", ["x"], ["abs"])],
        {"x": (FLOAT, ["n", 2])},
        {"minus": (FLOAT, ["n", 2]), "abs": (FLOAT, ["n", 2])},
    )
    add("fork", fork, "", filename="another-name.onnx")
    with (folder / "models" / "fork" / "config.pbtxt").open("a") as config:
        config.write('default_model_filename: "another-name.onnx"\n')
    add("unnamed", fork, None)
    fixed = onnx_graph([("Neg", ["x"], ["y"])], {"x": (FLOAT, [2, 2])}, {"y": (FLOAT, [2, 2])})
    add("fixed", fixed, "")
    add(
        "tuned",
        fixed,
        'parameters { key: "intra_op_thread_count" value: { string_value: "1" } }\n'
        + OPENVINO.replace(
            'name: "openvino"', 'name: "openvino" parameters { key: "precision" value: "BF16" }'
        ),
    )
    add(
        "gpu",
        fixed,
        OPENVINO.replace("cpu_execution", "gpu_execution").replace("openvino", "tensorrt"),
    )
    add("bad-file", b"not a graph", "")
    add(
        "bad-dims",
        fixed,
        'input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]\n'
        'output [ { name: "y" data_type: TYPE_FP32 dims: [ 2, 2 ] } ]',
    )
    add("bad-batch", fixed, "max_batch_size: 4")
    add("bad-accelerator", fixed, OPENVINO.replace("openvino", "abacus"))
    add(
        "bad-precision",
        fixed,
        OPENVINO.replace('"openvino"', '"openvino" parameters { key: "precision" value: "INT3" }'),
    )
    config = StackConfig(
        state=folder / "state", models=folder / "models", port=0, parts=frozenset({"triton"})
    )
    with Stack(config, tell=lambda event: messages.append(event.text)) as stack:
        yield stack


@pytest.fixture(scope="module")
def client(stack: Stack) -> grpcclient.InferenceServerClient:
    return grpcclient.InferenceServerClient(stack.addresses.triton_grpc)


Infer = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def infer(client: grpcclient.InferenceServerClient) -> Infer:
    def infer(
        model: str, array: Any, name: str = "x", outputs: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        tensor = grpcclient.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        wanted = [grpcclient.InferRequestedOutput(output) for output in outputs] or None
        answer = client.infer(model, [tensor], outputs=wanted, client_timeout=60)
        return {
            output.name: answer.as_numpy(output.name) for output in answer.get_response().outputs
        }

    return infer


@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_passes_through_unchanged(infer: Infer, dtype: str):
    sent = (np.arange(6).reshape(2, 3) % 2 == 0) if dtype == "BOOL" else np.arange(6).reshape(2, 3)
    numpy_dtype = {
        "FP32": "f4",
        "UINT8": "u1",
        "INT32": "i4",
        "INT64": "i8",
        "BOOL": "?",
        "FP16": "f2",
        "FP64": "f8",
    }[dtype]
    sent = sent.astype(numpy_dtype)
    received = infer(f"type-{dtype.lower()}", sent)["y"]
    assert received.dtype == sent.dtype
    np.testing.assert_array_equal(received, sent)


def test_an_incomplete_config_is_completed_like_the_native_backend_does(
    client: grpcclient.InferenceServerClient,
):
    for name in ("fork", "unnamed"):
        config = client.get_model_config(name, as_json=True)["config"]
        assert config["max_batch_size"] == 4
        assert "dynamic_batching" in config
        assert [
            (entry["name"], entry["data_type"], entry["dims"]) for entry in config["input"]
        ] == [("x", "TYPE_FP32", ["2"])]
        assert [entry["name"] for entry in config["output"]] == ["minus", "abs"]
    config = client.get_model_config("fixed", as_json=True)["config"]
    assert config.get("max_batch_size", 0) == 0
    assert config["input"][0]["dims"] == ["2", "2"]


def test_only_the_requested_outputs_are_returned(infer: Infer):
    array = np.array([[-1, 2]], np.float32)
    assert set(infer("fork", array)) == {"minus", "abs"}
    answer = infer("fork", array, outputs=("abs",))
    assert set(answer) == {"abs"}
    np.testing.assert_array_equal(answer["abs"], [[1, 2]])


def test_a_graph_without_a_batch_axis_runs(infer: Infer):
    array = np.array([[1, 2], [3, 4]], np.float32)
    for model in ("fixed", "tuned", "gpu"):
        np.testing.assert_array_equal(infer(model, array)["y"], -array)


def counts(client: grpcclient.InferenceServerClient, model: str) -> tuple[int, int]:
    (stats,) = client.get_inference_statistics(model, as_json=True)["model_stats"]
    return int(stats.get("inference_count", 0)), int(stats.get("execution_count", 0))


@pytest.mark.parametrize("model", ["pick", "pick-openvino"])
def test_requests_at_the_same_time_are_handed_over_together(
    infer: Infer, client: grpcclient.InferenceServerClient, model: str
):
    inferences, executions = counts(client, model)
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda index: infer(model, np.array([[index % 4]]))["y"].tolist(), range(16))
        )
    assert answers == [[[index % 4 * 10]] for index in range(16)]
    # Triton counts an inference after its answer.
    until(lambda: counts(client, model)[0] - inferences == 16, what="the count of all inferences")
    assert counts(client, model)[1] - executions < 16


def test_a_graph_that_openvino_refuses_runs_in_onnx_runtime(infer: Infer, stack: Stack):
    answer = infer("gather", np.array([[3, 0, 1], [2, 2, 2]]))["y"]
    assert answer.tolist() == [[15, 1, 7], [10, 11, 12]]
    assert "OpenVINO refuses the graph" in stack.state.log("triton").read_text()


def test_a_request_that_fails_fails_alone(infer: Infer):
    def attempt(index: int) -> Any:
        try:
            return infer("pick", np.array([[index]]))["y"].tolist()
        except InferenceServerException as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(attempt, [0, 1, 99, 2, 3, 0, 1, 2]))
    assert "indices element out of data bounds" in answers.pop(2)
    assert answers == [[[value]] for value in (0, 10, 20, 30, 0, 10, 20)]


def test_the_requests_of_a_sequence_are_answered(
    client: grpcclient.InferenceServerClient,
):
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    # Calls of their own may overtake each other on the way; a stream keeps their order.
    client.start_stream(lambda result, error: answers.put((result, error)))
    try:
        for number in range(8):
            tensor = grpcclient.InferInput("x", (1, 1), "INT64")
            tensor.set_data_from_numpy(np.array([[number % 4]]))
            client.async_stream_infer(
                "sequence",
                [tensor],
                sequence_id=7,
                sequence_start=number == 0,
                sequence_end=number == 7,
            )
        received = [answers.get(timeout=60) for _ in range(8)]
    finally:
        client.stop_stream()
    assert [error for _, error in received] == [None] * 8
    assert sorted(result.as_numpy("y").item() for result, _ in received) == sorted(
        [0, 10, 20, 30] * 2
    )


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("bad-file", "INVALID_PROTOBUF"),
        ("bad-dims", "input 'x' has dims [3] in the configuration and [2, 2] in the graph"),
        ("bad-batch", "set max_batch_size: 0"),
        ("bad-accelerator", "unknown cpu_execution_accelerator 'abacus'"),
        ("bad-precision", "must be one of FP32, FP16, BF16, not 'INT3'"),
    ],
)
def test_a_bad_model_is_reported_and_the_others_load(
    stack: Stack, messages: list[str], infer: Infer, model: str, says: str
):
    (line,) = [line for line in messages if f"model {model} did not load" in line]
    assert says in line
    assert infer("fixed", np.ones((2, 2), np.float32))["y"].sum() == -4


def test_the_choice_of_an_engine_is_in_the_log(stack: Stack):
    log = stack.state.log("triton").read_text()
    assert "model 'tuned': runs in OpenVINO" in log
    assert (
        "model 'gpu': tensorrt needs a GPU, which the embedded Triton does not use; ignored" in log
    )
    assert "model 'fixed': runs in ONNX Runtime" in log


def test_both_engines_give_the_same_answers(
    golden: Path, start: Callable[..., Stack], tmp_path: Path
):
    add = adder(tmp_path / "models")
    config = """
    max_batch_size: 8
    input [ { name: "images" data_type: TYPE_FP32 dims: [ 3, -1, -1 ] } ]
    output [ { name: "output0" data_type: TYPE_FP32 dims: [ 8, -1 ] } ]
    """
    add("ort", golden / "models" / "11-detect.onnx", config)
    add("openvino", golden / "models" / "11-detect.onnx", config + OPENVINO)
    stack = start(tmp_path / "models")
    images = np.random.default_rng(0).random((3, 3, 320, 320), np.float32)
    first, second = (
        _infer_one(stack, name, "images", images, "output0") for name in ("ort", "openvino")
    )
    assert first.shape == second.shape == (3, 8, 2100)
    np.testing.assert_allclose(first[:, :4], second[:, :4], atol=0.01)  # pixels
    np.testing.assert_allclose(first[:, 4:], second[:, 4:], atol=1e-4)  # scores


def test_the_shipped_model_gives_the_same_in_both_engines(
    start: Callable[..., Stack], tmp_path: Path
):
    config = (CODES / "config.pbtxt").read_text()
    assert "openvino" in config
    for name, text in (("openvino", config), ("ort", config.replace("optimization", "#"))):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / "config.pbtxt").write_text(text.replace('name: "codes"', ""))
        (folder / "1").symlink_to(CODES / "1")
    stack = start(tmp_path / "models")
    images = np.random.default_rng(0).integers(0, 256, (2, 416, 416, 3), np.uint8)
    first, second = (
        _infer_one(stack, name, "images", images, "output0") for name in ("ort", "openvino")
    )
    # The graph keeps its best 300 boxes. In noise, the order of equal scores is chance.
    np.testing.assert_allclose(
        *(np.sort(output[:, 4:].max(axis=1)) for output in (first, second)), atol=1e-3
    )


def _infer_one(stack: Stack, model: str, name: str, array: Any, output: str) -> Any:
    client = grpcclient.InferenceServerClient(stack.addresses.triton_grpc)
    tensor = grpcclient.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return client.infer(model, [tensor], client_timeout=60).as_numpy(output)
