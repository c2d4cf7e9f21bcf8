"""The models of the speed table: files, and the repositories that a checkout makes of them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.speed import network, picture

#: How `sluice models add` is called for each service model of the detector.
DETECTORS: dict[str, tuple[str, ...]] = {
    "ort": ("--engine", "onnxruntime"),
    "ort-plain": ("--engine", "onnxruntime", "--no-fold"),
    "ov": ("--engine", "openvino"),
    "ov-plain": ("--engine", "openvino", "--no-fold"),
}
#: The shipped model, and the detector as a person adds it: name and kind of each model.
ALONE = {"ort": "ort", "codes": "codes"}
#: All other models.
TOGETHER = {name: name for name in ("ort-plain", "ov", "ov-plain", "nothing")}
# With a version, as `sluice models add` writes it: else each answer is followed by a question.
_NOTHING = """name: "nothing"
backend: "onnxruntime"
max_batch_size: 16
input [ { name: "images" data_type: TYPE_UINT8 dims: [ 640, 640, 3 ] } ]
output [ { name: "output0" data_type: TYPE_FP32 dims: [ 7, 4 ] } ]
dynamic_batching { max_queue_delay_microseconds: 0 }
instance_group [ { count: 1 } ]
version_policy { specific { versions: [ 1 ] } }
parameters { key: "sluice.version" value: { string_value: "1" } }
parameters { key: "sluice.task" value: { string_value: "detect" } }
parameters { key: "sluice.layout" value: { string_value: "anchor-free" } }
parameters { key: "sluice.names" value: { string_value: "[\\"a\\", \\"b\\", \\"c\\"]" } }
parameters { key: "sluice.imgsz" value: { string_value: "[640, 640]" } }
"""


@dataclass(frozen=True)
class Files:
    """The inputs of a run, in one folder."""

    folder: Path
    detector: Path
    """The graph as exported."""
    image: Path
    small: Path
    """An image that costs next to nothing to decode."""

    @classmethod
    def write(cls, folder: Path, detector: Path | None) -> "Files":
        """Write the image, and a detector with random weights unless one is given."""
        data = picture.photograph()
        image, small = folder / "image.jpg", folder / "small.jpg"
        image.write_bytes(data)
        small.write_bytes(picture.small())
        if detector is None:
            planes = picture.canvas(data, network.SIDE).transpose(2, 0, 1)[None]
            tensor = np.ascontiguousarray(planes.astype(np.float32) / 255)
            detector = network.write(folder / "detector.onnx", tensor)
        return cls(folder, detector.resolve(), image, small)


def environment(checkout: Path) -> dict[str, str]:
    """The environment of processes of another checkout, with this Python."""
    return {**os.environ, "PYTHONPATH": str(checkout)}


def repository(checkout: Path, files: Files, folder: Path, names: Mapping[str, str]) -> Path:
    """Fill `folder` with models, as the checkout's own command adds them.

    `names` holds the kind of each model by its name: a key of DETECTORS, `codes` or `nothing`.
    """
    folder.mkdir(parents=True)
    for name, kind in names.items():
        if kind == "codes":
            shutil.copytree(checkout / "model_repository" / "codes", folder / name)
        elif kind == "nothing":
            _nothing(folder / name)
        else:
            command = [sys.executable, "-m", "sluice", "models", "add", str(files.detector)]
            command += ["--name", name, "--repository", str(folder), *DETECTORS[kind]]
            subprocess.run(
                command,
                cwd=checkout,
                env=environment(checkout),
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
    return folder


def _nothing(folder: Path) -> None:
    """A model that answers each image (640, 640, 3) uint8 with the same four rows, of score 0."""
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(_NOTHING)
    nodes = [
        helper.make_node("Shape", ["images"], ["batch"], start=0, end=1),
        helper.make_node("Concat", ["batch", "sides"], ["shape"], axis=0),
        helper.make_node("Expand", ["zeros", "shape"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "nothing",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 640, 640, 3])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["n", 7, 4])],
        [
            numpy_helper.from_array(np.array([7, 4], np.int64), "sides"),
            numpy_helper.from_array(np.zeros((1, 1, 1), np.float32), "zeros"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    onnx.save(model, folder / "1" / "model.onnx")
