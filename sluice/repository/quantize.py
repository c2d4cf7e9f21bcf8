"""Quantizes a graph's convolutions to int8, with ranges from a folder of images.

The method is static quantization, with QuantizeLinear and DequantizeLinear around each convolution:
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from sluice.errors import UnsupportedModel
from sluice.repository.description import Description
from sluice.repository.onnx_file import OnnxFile
from sluice.repository.running import Array, Canvases, Runner, decode, model_of, tensor_of
from sluice.vision import heads
from sluice.vision.boxes import box_iou
from sluice.vision.heads import Classification, DecodeParameters, Detections

LEAST_IMAGES = 8
MOST_IMAGES = 200
_OLDEST_OPSET = 13  # the first whose DequantizeLinear has a scale for each channel
_SAME_IOU = 0.8  # of two boxes that count as the same detection


def quantize(
    file: OnnxFile, description: Description, folder: Path
) -> tuple[OnnxFile, Description]:
    """Return the graph with convolutions in int8. A note says how many detections are the same.

    `folder` has images like those that will come, which are drawn on the canvas as the worker does.

    Raises UnsupportedModel, with what to do, for too few images, or an opset that is too old.
    """
    if file.opset < _OLDEST_OPSET:
        raise UnsupportedModel(
            f"the graph's opset is {file.opset}, and int8 needs {_OLDEST_OPSET} or newer;"
            " export it again with a newer opset"
        )
    canvases = list(_canvases(folder, description))
    if len(canvases) < LEAST_IMAGES:
        raise UnsupportedModel(
            f"{folder} has {len(canvases)} images that can be read, and int8 needs at least"
            f" {LEAST_IMAGES}; add images like those that will come"
        )
    model = onnx.ModelProto()
    model.CopyFrom(file.model)
    if file.external_files:
        onnx.load_external_data_for_model(model, str(file.path.parent))
    # Without this mark ONNX Runtime asks the person, on the root logger, to prepare the graph.
    add_pre_process_metadata(model)
    with tempfile.TemporaryDirectory(prefix="sluice-int8-") as folder_of_result:
        path = Path(folder_of_result, "int8.onnx")
        quantize_static(
            model,
            path,
            _Images(description, canvases),
            op_types_to_quantize=["Conv"],
            per_channel=True,
            # OpenVINO misreads signed activations. Without VNNI, CPUs add up pairs of products in
            # 16 bits, which 8-bit weights overflow; 7-bit weights do not.
            activation_type=QuantType.QUInt8,
            reduce_range=True,
        )
        result = onnx.load(path)
    del result.metadata_props[:]
    result.metadata_props.extend(file.model.metadata_props)
    quantized = OnnxFile.from_model(file.path, result)
    share = agreement(file, quantized, description, canvases)
    note = f"int8 gives {share:.0%} of the detections of the graph as it came, on {folder}."
    return quantized, replace(description, notes=(*description.notes, note))


def agreement(
    first: OnnxFile, second: OnnxFile, description: Description, canvases: list[Canvases]
) -> float:
    """Return the share of detections that two graphs have in common, from 0 to 1.

    Each canvas is (1, height, width, channels). Detections without a like one count on both sides.
    For a classifier, the share of canvases with the same best class.
    """
    runners = [Runner(file) for file in (first, second)]
    same, all_ = 0, 0
    for canvas in canvases:
        a, b = (
            decode(description, runner.run(description, canvas), DecodeParameters())
            for runner in runners
        )
        if isinstance(a, Classification) or isinstance(b, Classification):
            same, all_ = same + int(a.class_ids[0] == b.class_ids[0]), all_ + 1
            continue
        pairs = _pairs(a, b)
        same, all_ = same + pairs, all_ + len(a) + len(b) - pairs
    return same / all_ if all_ else 1.0


def _pairs(a: Detections, b: Detections) -> int:
    """Count the detections of `a` that have one in `b`, of the same class and place."""
    if not len(a) or not len(b):
        return 0
    like = (box_iou(a.boxes, b.boxes) >= _SAME_IOU) & (a.class_ids[:, None] == b.class_ids[None])
    return int(min(like.any(axis=0).sum(), like.any(axis=1).sum()))


class _Images(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime has no types
    """Feeds the canvases one by one. A graph with a fixed batch gets the same one N times."""

    def __init__(self, description: Description, canvases: list[Canvases]) -> None:
        self._feeds = iter(
            {
                description.input.name: tensor_of(
                    description, canvas.repeat(max(1, description.batch), axis=0)
                )
            }
            for canvas in canvases
        )

    def get_next(self) -> dict[str, Array] | None:
        return next(self._feeds, None)


def _canvases(folder: Path, description: Description) -> Iterator[Canvases]:
    """Yield the folder's images on the model's canvas, each (1, height, width, channels)."""
    model = model_of(description)
    grey = description.channels == 1
    count = 0
    for path in sorted(folder.iterdir()):
        pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR_RGB)
        if pixels is None:
            continue
        image = np.asarray(pixels, np.uint8).reshape(*pixels.shape[:2], description.channels)
        yield heads.fit(model, image.shape[:2]).apply(image)[None]
        count += 1
        if count == MOST_IMAGES:
            return
