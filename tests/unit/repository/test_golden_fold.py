"""Folding and opening on real networks: the detections are those of the file as it came."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from sluice.repository import metadata, onnx_file
from sluice.repository.batch import open_batch
from sluice.repository.description import Description, Overrides, describe
from sluice.repository.fold import fold
from sluice.repository.onnx_file import OnnxFile
from sluice.repository.prove import prove
from sluice.repository.running import Runner, decode, model_of
from sluice.vision import heads
from sluice.vision.heads import DecodeParameters

MODELS = [
    "11-detect", "v5-detect", "26-detect", "11-segment", "11-pose", "11-obb", "11-classify",
]  # fmt: skip
IMAGES = ["00.jpg", "03.jpg", "07.jpg"]


def described(file: OnnxFile) -> tuple[OnnxFile, Description]:
    return file, describe(file, metadata.parse(file.metadata), Overrides())


def canvas(description, path: Path):
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    return heads.fit(model_of(description), image.shape[:2]).apply(image)[None]


def equal(a, b):
    assert len(a) == len(b)
    np.testing.assert_array_equal(a.class_ids, b.class_ids)
    np.testing.assert_allclose(a.scores, b.scores, atol=1e-4)
    for field in ("boxes", "keypoints", "corners"):
        if getattr(a, field, None) is not None:
            np.testing.assert_allclose(getattr(a, field), getattr(b, field), atol=0.05)
    for one, other in zip(*(getattr(x, "polygons", None) or [] for x in (a, b)), strict=True):
        assert abs(cv2.contourArea(one) - cv2.contourArea(other)) <= 2


@pytest.mark.parametrize("name", MODELS)
def test_folded_and_not(golden, tmp_path, name):
    file, description = described(onnx_file.read(golden / "models" / f"{name}.onnx"))
    folded, changed = fold(file, description)
    assert changed.notes == ()
    onnx.save(folded.model, tmp_path / "model.onnx")
    prove(tmp_path / "model.onnx", changed)
    runner, folded_runner = Runner(file), Runner(folded)
    for image in IMAGES:
        pixels = canvas(description, golden / "images" / image)
        outputs = runner.run(description, pixels)
        folded_outputs = folded_runner.run(changed, pixels)
        for confidence in (0.25, 0.001):
            parameters = DecodeParameters(confidence=confidence)
            equal(
                decode(description, outputs, parameters),
                decode(changed, folded_outputs, parameters),
            )


def fixed(path: Path, batch: int, folder: Path) -> OnnxFile:
    """The model for a fixed number of images and fixed sides, as an exporter simplifies it."""
    model = onnx.load(path)
    sides = json.loads(next(p.value for p in model.metadata_props if p.key == "imgsz"))
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for dim, side in zip(dims, (batch, 3, *sides), strict=True):
        dim.dim_value = side
    del model.graph.value_info[:]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folder / "fixed.onnx")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    outputs = session.run(None, {"images": np.zeros((batch, 3, *sides), np.float32)})
    simplified = onnx.load(folder / "fixed.onnx")
    for value, array in zip(simplified.graph.output, outputs, strict=True):
        for dim, side in zip(value.type.tensor_type.shape.dim, array.shape, strict=True):
            dim.dim_value = side
    onnx.helper.set_model_props(simplified, {p.key: p.value for p in model.metadata_props})
    return OnnxFile.from_model(path, simplified)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", MODELS)
def test_opened_and_not(golden, tmp_path, name, batch):
    path = golden / "models" / f"{name}.onnx"
    file, description = described(fixed(path, batch, tmp_path))
    opened, changed = open_batch(file, description)
    assert changed.notes == ()
    assert changed.batch == -1
    folded, last = fold(opened, changed)
    assert last.notes == ()
    pixels = np.concatenate([canvas(description, golden / "images" / name) for name in IMAGES])
    parameters = DecodeParameters(confidence=0.25)
    outputs = Runner(folded).run(last, pixels)
    for i in range(len(IMAGES)):
        alone = Runner(file).run(description, pixels[i : i + 1])
        equal(
            decode(description, alone, parameters),
            decode(last, {key: array[i : i + 1] for key, array in outputs.items()}, parameters),
        )
