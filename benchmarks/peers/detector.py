"""The work of every peer: the bare loop's steps, on the embedded backend's module of engines.

Runs in the peers' environment. PEERS_ENGINES is the folder of that module, PEERS_MODEL the graph.
"""

import os
import sys
from typing import Any

import cv2

from benchmarks.speed.bare import SETTINGS, Loop


class Detector:
    """One graph in ONNX Runtime, with as many threads as the machine has CPUs."""

    def __init__(self) -> None:
        sys.path.insert(0, os.environ["PEERS_ENGINES"])
        import engines  # type: ignore[import-not-found]  # noqa: PLC0415  the path is set above

        engine = engines.OnnxRuntime(os.environ["PEERS_MODEL"], SETTINGS, engines.cpu_count())
        self._loop = Loop(cv2, engine)

    def __call__(self, data: bytes) -> dict[str, Any]:
        """The detections in a JPEG, as a dictionary for JSON."""
        boxes, scores, classes = self._loop.detect(data)
        return {
            "predictions": [
                {"box": box, "confidence": score, "class_id": number}
                for box, score, number in zip(
                    boxes.tolist(), scores.tolist(), classes.tolist(), strict=True
                )
            ]
        }
