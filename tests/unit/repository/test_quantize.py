"""Quantizing to int8: the graph still says the same, and a note says how nearly."""

import re

import cv2
import numpy as np
import onnx
import pytest

from sluice.errors import UnsupportedModel
from sluice.models import Layout
from sluice.repository.fold import fold
from sluice.repository.quantize import LEAST_IMAGES, quantize
from sluice.repository.running import Runner, noise
from tests.support import tiny

STILL = [[8, 24], [8, 24], [8, 8], [8, 8], [0, 0], [0, 0]]
MOVING = [[0, 0]] * 4 + [[1, 0.5], [0.25, 0.75]]


@pytest.fixture
def images(tmp_path):
    """Eight photos in red, from dark to bright, and a file that is no image."""
    for i in range(LEAST_IMAGES):
        pixels = np.zeros((20, 30, 3), np.uint8)
        pixels[..., 2] = 255 * i // 7
        cv2.imwrite(str(tmp_path / f"{i}.png"), pixels)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


@pytest.mark.parametrize("batch", [1, 4, "batch"])
def test_convolutions_are_quantized(images, batch):
    file, description = fold(
        *tiny.described(tiny.detector(STILL, MOVING, batch=batch), "anchor-free")
    )
    quantized, result = quantize(file, description, images)
    operators = [node.op_type for node in quantized.model.graph.node]
    assert {"QuantizeLinear", "DequantizeLinear"} <= set(operators)
    assert result.layout is Layout.CANDIDATES
    assert quantized.outputs == file.outputs
    assert quantized.metadata == file.metadata
    (note,) = result.notes
    assert re.search(r"int8 gives \d+% of the detections", note)
    canvases = noise(description, max(1, description.batch))
    before, after = (
        Runner(some).run(description, canvases)["candidates"] for some in (file, quantized)
    )
    np.testing.assert_allclose(after[..., 4], before[..., 4], atol=0.2)


def test_too_few_images_are_refused(images):
    (images / "0.png").unlink()
    file, description = tiny.described(tiny.detector(STILL, MOVING), "anchor-free")
    with pytest.raises(UnsupportedModel, match="7 images"):
        quantize(file, description, images)


def test_an_old_opset_is_refused(images):
    file, description = tiny.described(tiny.detector(STILL, MOVING, opset=12), "anchor-free")
    with pytest.raises(UnsupportedModel, match="opset is 12"):
        quantize(file, description, images)


def test_a_grey_model(images):
    made = tiny.detector(STILL, MOVING, channels=1)
    file, description = tiny.described(made, "anchor-free")
    quantized, _ = quantize(file, description, images)
    onnx.checker.check_model(quantized.model)


def test_a_quantized_graph_can_be_folded(images):
    made = tiny.detector(STILL, MOVING, batch="batch")
    file, description = quantize(*tiny.described(made, "anchor-free"), images)
    folded, result = fold(file, description)
    assert result.layout is Layout.CANDIDATES
    assert "candidates" in Runner(folded).run(result, noise(result, 2))
