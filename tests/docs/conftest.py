"""One stack for the documents, and the files that their readers have."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from tests.support.graphs import constant_outputs
from tests.support.live import Live, live_stack
from tests.support.paths import ROOT

#: Programs that stand before those of the machine. An answer of 4xx or 5xx must end a block. A
#: target of make would take minutes, or install something, so its commands are only printed.
TOOLS = {
    "curl": 'exec "{curl}" --fail-with-body "$@"',
    "make": 'exec "{make}" --dry-run --directory "{root}" "$@"',
}


@pytest.fixture(scope="session")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The stack that the documents speak of."""
    folder = tmp_path_factory.mktemp("documented")
    shutil.copytree(ROOT / "model_repository", folder / "model_repository")
    options = ("--concurrency", "2", "--models", str(folder / "model_repository"))
    env = {"SLUICE_NETGUARD_ALLOW": "127.0.0.1/32"}
    with live_stack(folder / "sluice", *options, workers=1, env=env) as live:
        yield live


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tools")
    for name, script in TOOLS.items():
        if program := shutil.which(name):
            path = folder / name
            path.write_text("#!/bin/sh\n" + script.format(**{name: program}, root=ROOT) + "\n")
            path.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the images and the model that documents name."""
    folder = tmp_path_factory.mktemp("samples")
    shutil.copytree(ROOT / "samples", folder / "samples")
    for name in ("desk", "street", "photo"):
        shutil.copy(ROOT / "samples" / "desk.jpg", folder / f"{name}.jpg")
    shutil.copy(ROOT / "samples" / "shelf.jpg", folder / "aerial.jpg")
    for name in ("aerial", "photos"):
        (folder / name).mkdir()
        shutil.copy(ROOT / "samples" / "bench.jpg", folder / name / "1.jpg")
    shutil.make_archive(str(folder / "photos"), "zip", folder / "photos")
    _film(folder / "clip.mp4")
    onnx.save(_model(), folder / "yolo11n.onnx")
    return folder


def _film(path: Path) -> None:
    """A second of video."""
    frame = cv2.resize(cv2.imread(str(ROOT / "samples" / "desk.jpg")), (640, 480))
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (640, 480))
    for _ in range(10):
        video.write(frame)
    video.release()


def _model() -> onnx.ModelProto:
    """A model with the signature of YOLO11n, which sees one person in the middle of each image."""
    output = np.zeros((1, 84, 8400), np.float32)
    output[0, :5, 0] = (320, 320, 200, 300, 0.9)
    names = ["person", *(f"class-{number}" for number in range(1, 80))]
    metadata = {"names": str(dict(enumerate(names))), "task": "detect", "imgsz": "[640, 640]"}
    return constant_outputs({"output0": output}, metadata=metadata)
