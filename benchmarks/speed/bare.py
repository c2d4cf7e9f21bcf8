"""The bare loop: decode, letterbox, infer, suppress, one image after the other in one process.

    python bare.py FOLDER_OF_ENGINES FOLDER_OF_PACKAGES < JOBS

Runs in Triton's environment, with the module of engines that the embedded Triton has, and with as
many threads. Nothing else of Sluice is imported. A job has `engine`, `file`, `image` and `seconds`.
The answer is a JSON list with a dictionary for each job.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

CONFIDENCE, IOU, MAX_DETECTIONS, PADDING = 0.25, 0.45, 300, 114
#: One image at a time, on all threads: nothing is held ready for runs side by side.
SETTINGS = {"num_streams": "1"}
WARM_UP = 5


class Loop:
    """One graph, ready to take images.

    The input is (1, 3, side, side) float32 in 0 to 1, or (1, side, side, 3) uint8. The output is
    (1, 4 + classes, rows) float32: centre, width and height in network pixels, and scores.
    """

    def __init__(self, cv2, engine):
        self._cv2 = cv2
        self._engine = engine
        (self._input,) = engine.signature.inputs
        self._output = engine.signature.outputs[0].name
        self._planes = self._input.dtype == "TYPE_FP32"
        self._side = self._input.dims[-1 if self._planes else -2]

    def detect(self, data):
        """Returns boxes (n, 4) in source pixels, scores (n,) and class ids (n,)."""
        cv2, side = self._cv2, self._side
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        scale = min(side / image.shape[0], side / image.shape[1])
        height, width = (round(length * scale) for length in image.shape[:2])
        top, left = (side - height) // 2, (side - width) // 2
        canvas = np.full((side, side, 3), PADDING, np.uint8)
        cv2.resize(image, (width, height), dst=canvas[top : top + height, left : left + width])
        feed = canvas[None]
        if self._planes:
            feed = np.multiply(feed.transpose(0, 3, 1, 2), np.float32(1 / 255), order="C")
        output = self._engine.run([self._output], {self._input.name: feed})[0][0]
        best = output[4:].max(0)
        rows = np.flatnonzero(best > CONFIDENCE)
        scores, classes = best[rows], output[4:, rows].argmax(0)
        boxes = output[:4, rows].T.copy()
        boxes[:, :2] -= boxes[:, 2:] / 2
        kept = cv2.dnn.NMSBoxesBatched(boxes, scores, classes, CONFIDENCE, IOU)
        kept = np.asarray(kept, np.int64)[:MAX_DETECTIONS]
        boxes = boxes[kept]
        boxes[:, 2:] += boxes[:, :2]
        boxes = (boxes - np.array((left, top, left, top), np.float32)) / np.float32(scale)
        limits = np.array(image.shape[1::-1] * 2, np.float32)
        return np.clip(boxes, 0, limits), scores[kept], classes[kept]


def measure(loop, data, seconds):
    """Images a second, the median milliseconds of an image, and its processor time in ms."""
    for _ in range(WARM_UP):
        boxes, _, _ = loop.detect(data)
    times, used, start = [], time.process_time(), time.perf_counter()
    while time.perf_counter() < start + seconds:
        before = time.perf_counter()
        loop.detect(data)
        times.append(time.perf_counter() - before)
    took, used = time.perf_counter() - start, time.process_time() - used
    return {
        "per_s": len(times) / took,
        "ms": statistics.median(times) * 1000,
        "cpu_ms": used / len(times) * 1000,
        "detections": len(boxes),
    }


def main():
    sys.path.insert(0, sys.argv[1])
    sys.path.append(sys.argv[2])
    import cv2  # noqa: PLC0415  the path is set above
    import engines  # noqa: PLC0415

    makers = {"onnxruntime": engines.OnnxRuntime, "openvino": engines.OpenVino}
    results = []
    for job in json.load(sys.stdin):
        engine = makers[job["engine"]](job["file"], SETTINGS, engines.cpu_count())
        data = Path(job["image"]).read_bytes()
        results.append(measure(Loop(cv2, engine), data, job["seconds"]))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
