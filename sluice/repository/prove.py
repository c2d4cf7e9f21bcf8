"""Proves by inference that a model can be served, and that folding keeps its detections."""

from pathlib import Path

import numpy as np

from sluice.errors import UnsupportedModel
from sluice.repository import onnx_file
from sluice.repository.description import Description
from sluice.repository.onnx_file import OnnxFile
from sluice.repository.running import Canvases, Runner, decode, noise
from sluice.vision.boxes import Floats
from sluice.vision.heads import Classification, DecodeParameters, Detections
from sluice.vision.letterbox import PADDING

LEAST_CONFIDENCE = 0.001
"""The confidence of the proofs: nearly every row counts, even those of an untrained model."""

_PARAMETERS = DecodeParameters(confidence=LEAST_CONFIDENCE, max_detections=100)
_SCORES = 1e-3  # by which a score may differ between two forms of a graph
_PIXELS = 1.0  # by which a point may differ, in network pixels
_SHARE = 0.98  # of the detections that must be found again; ties of suppression take the rest
_FINITE = 0.5  # of an output's numbers; broken rows are dropped, but these are too many


def prove(path: str | Path, description: Description) -> None:
    """Run the model at `path` on an image of noise and on a grey one, and decode its outputs.

    Raises UnsupportedModel, with what to do, if the graph can't be run. Raises it too if half of an
    output's numbers are not finite, or if the outputs contradict the description.
    """
    runner = Runner(onnx_file.read(path))
    for canvas in (noise(description, 1), _grey(description)):
        outputs = runner.run(description, canvas)
        for name, array in outputs.items():
            if array.size and np.isfinite(array).mean() < _FINITE:
                raise UnsupportedModel(
                    f"output {name!r} has too many numbers that are not finite for a test image;"
                    " export the model again, in float32 if this is float16"
                )
        decode(description, outputs, _PARAMETERS)


def same_detections(
    file: OnnxFile, description: Description, other: OnnxFile, changed: Description
) -> None:
    """Compare the detections of two forms of a model, on the same canvases.

    Raises UnsupportedModel if the detections of `other` are not those of `file`.
    """
    first, second = Runner(file, exact=True), Runner(other, exact=True)
    for canvas in (noise(description, 1), _grey(description)):
        results = [
            decode(what, runner.run(what, canvas), _PARAMETERS)
            for runner, what in ((first, description), (second, changed))
        ]
        if not _alike(*results):
            raise UnsupportedModel("its detections would not be the same")


def _grey(description: Description) -> Canvases:
    shape = (1, *description.imgsz, description.channels)
    return np.full(shape, PADDING, np.uint8)


def _alike(a: Detections | Classification, b: Detections | Classification) -> bool:
    """True if most detections of `a` have a like one in `b`, and the numbers are alike."""
    if isinstance(a, Classification) or isinstance(b, Classification):
        return len(a) == len(b) and np.allclose(a.scores, b.scores, atol=_SCORES)
    if abs(len(a) - len(b)) > (1 - _SHARE) * max(len(a), len(b)):
        return False
    if not len(a):
        return True
    pixels = np.abs(_points(a)[:, None] - _points(b)[None]).max(axis=2)
    scores = np.abs(a.scores[:, None] - b.scores[None])
    alike = (pixels < _PIXELS) & (scores < _SCORES)
    alike &= a.class_ids[:, None] == b.class_ids[None]
    return bool(np.mean(np.any(alike, axis=1)) >= _SHARE)


def _points(detections: Detections) -> Floats:
    """Return all coordinates of each detection: (n, values), in network pixels.

    An outline counts by the box around it.
    """
    count = len(detections)
    parts = [detections.boxes]
    for some in (detections.keypoints, detections.corners):
        if some is not None:
            parts.append(some.reshape(count, -1))
    if detections.polygons:
        ends = [(*p.min(axis=0), *p.max(axis=0)) for p in detections.polygons]
        parts.append(np.array(ends, np.float32))
    return np.concatenate(parts, axis=1)
