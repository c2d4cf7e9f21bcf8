"""The gain of folding: bytes a prediction, and milliseconds of the engine and of the worker.

`python -m benchmarks.fold FILE …` measures those models. Without a file, an untrained
network is measured: a detector for 640 pixels and 80 classes.
"""

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks import engines
from sluice.local.paths import BACKENDS, CHECKOUT
from sluice.repository import metadata, onnx_file
from sluice.repository.batch import open_batch
from sluice.repository.description import Description, Overrides, describe
from sluice.repository.fold import fold
from sluice.repository.running import Runner, decode, model_of, noise, tensor_of
from sluice.vision.heads import DecodeParameters

SIDE, CLASSES = 640, 80
BYTES = {"UINT8": 1, "FP16": 2, "FP32": 4}


def main() -> None:
    measure([])


def measure(paths: list[Path]) -> None:
    """Print a table for each model."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as name:
        folder = Path(name)
        for path in paths or [_network(folder / "detector.onnx")]:
            print(f"{path.name}:")
            _measure(path, folder)


def _measure(path: Path, folder: Path) -> None:
    file = onnx_file.read(path)
    description = describe(file, metadata.parse(file.metadata), Overrides())
    file, description = open_batch(file, description)
    forms = {"as it came": (file, description), "folded": fold(file, description)}
    jobs = []
    for form, (graph, what) in forms.items():
        target = folder / f"{form.replace(' ', '-')}.onnx"
        onnx.save(graph.model, target)
        asked = [output.name for output in model_of(what).wanted_outputs]
        tensor = tensor_of(what, noise(what, 1))
        jobs.append(
            {
                "file": str(target),
                "input": what.input.name,
                "shape": tensor.shape[1:],
                "dtype": what.input.dtype,
                "outputs": asked,
            }
        )
    answer = subprocess.run(
        [CHECKOUT / ".venv-triton/bin/python", engines.__file__, BACKENDS / "onnxruntime"],
        input=json.dumps(jobs),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    rows = [_of_worker(*form) for form in forms.values()]
    for row, times in zip(rows, json.loads(answer.stdout), strict=True):
        row |= {f"{what} a call: ms": ms for what, ms in times.items()}
    print(f"  {'':<28}{'as it came':>12}{'folded':>12}{'ratio':>8}")
    for key, before in rows[0].items():
        after = rows[1][key]
        print(f"  {key:<28}{before:>12,.1f}{after:>12,.1f}{after / before:>8.2f}")


def _of_worker(file: onnx_file.OnnxFile, description: Description) -> dict[str, float]:
    """The kilobytes of one image, and the worker's milliseconds for it."""
    outputs = Runner(file).run(description, canvas := noise(description, 1))
    parameters = DecodeParameters(confidence=0.25)
    tensor = tensor_of(description, canvas)
    sent = math.prod(tensor.shape[1:]) * BYTES[description.input.dtype]
    back = sum(outputs[output.name][0].nbytes for output in model_of(description).wanted_outputs)
    return {
        "to the model: kB": sent / 1000,
        "back: kB": back / 1000,
        "worker, input: ms": _ms(lambda: tensor_of(description, canvas)),
        "worker, output: ms": _ms(lambda: decode(description, outputs, parameters)),
    }


def _ms(work: Callable[[], object]) -> float:
    times = []
    for _ in range(engines.ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) * 1000


def _network(path: Path) -> Path:
    """Write a detector with five convolutions, and heads at the strides 8, 16 and 32."""
    random = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    initializers: list[onnx.TensorProto] = []

    def convolve(source: str, channels: tuple[int, int], size: int, stride: int) -> str:
        number = len(initializers)
        weight = random.normal(
            0, (2 / (channels[0] * size * size)) ** 0.5, (*channels[::-1], size, size)
        )
        initializers.append(numpy_helper.from_array(weight.astype(np.float32), f"w{number}"))
        nodes.append(
            helper.make_node(
                "Conv",
                [source, f"w{number}"],
                [f"c{number}"],
                strides=[stride] * 2,
                pads=[size // 2] * 4,
            )
        )
        return f"c{number}"

    source, heads = "images", []
    for channels, stride in zip(
        ((3, 16), (16, 32), (32, 64), (64, 128), (128, 256)), (2, 4, 8, 16, 32), strict=True
    ):
        convolved = convolve(source, channels, 3, 2)
        source = f"r{stride}"
        nodes.append(helper.make_node("Relu", [convolved], [source]))
        if stride >= 8:
            head = convolve(source, (channels[1], 4 + CLASSES), 1, 1)
            shape = f"s{stride}"
            initializers.append(numpy_helper.from_array(np.array((1, 4 + CLASSES, -1)), shape))
            nodes.append(helper.make_node("Reshape", [head, shape], [f"h{stride}"]))
            heads.append(f"h{stride}")
    initializers.append(numpy_helper.from_array(np.array((4, CLASSES)), "parts"))
    nodes += [
        helper.make_node("Concat", heads, ["all"], axis=2),
        helper.make_node("Split", ["all", "parts"], ["boxes", "logits"], axis=1),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
        helper.make_node("Concat", ["boxes", "scores"], ["output0"], axis=1),
    ]
    anchors = sum((SIDE // stride) ** 2 for stride in (8, 16, 32))
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 4 + CLASSES, anchors])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    names = {index: f"class {index}" for index in range(CLASSES)}
    helper.set_model_props(model, {"task": "detect", "names": str(names)})
    onnx.save(model, path)
    return path


if __name__ == "__main__":
    measure([Path(argument) for argument in sys.argv[1:]])
