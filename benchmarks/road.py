"""The time of one image in its stages.

Tensors go to Triton as bytes or through shared memory; the whole pipeline is compared with Triton
alone.
"""

import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np

from benchmarks.common import IMAGE, client, stack
from sluice.blobs.store import RedisBlobs, input_key
from sluice.prediction import Prediction, Status
from sluice.vision import heads
from sluice.vision.triton.client import Triton
from worker.pipeline import Pipeline
from worker.stages import Stages

CALLS = 200


def main() -> None:
    with stack("redis", "triton") as running:
        engines = {
            shared: Triton(running.addresses.triton_grpc, timeout_s=30, shared_memory=shared)
            for shared in (False, True)
        }
        blobs = RedisBlobs(client(running))
        blobs.put(input_key("a", ""), IMAGE, 3600)
        prediction = Prediction(id="a", model="codes", status=Status.PROCESSING, created_at=0)
        pixels = cv2.imdecode(np.frombuffer(IMAGE, np.uint8), cv2.IMREAD_COLOR_RGB)

        def infer(shared: bool) -> Callable[[], object]:
            def call() -> None:
                model = engines[shared].model("codes")
                with engines[shared].slot(model) as slot:
                    heads.fit(model, pixels.shape[:2]).apply(pixels, slot.input)
                    slot.infer()

            return call

        def whole(shared: bool) -> Callable[[], object]:
            pipeline = Pipeline(blobs, engines[shared], 50_000_000, 3600, fetch=str.encode)
            return lambda: pipeline.run(prediction, Stages())

        seconds = _interleaved(
            {"bytes": infer(False), "shared": infer(True), "pipeline": whole(True)}
        )
        for engine in engines.values():
            engine.close()
    base = seconds["bytes"]
    for name, taken in seconds.items():
        print(f"{name}: {taken * 1000:.1f} ms, {taken / base:.2f} of bytes", flush=True)


def _interleaved(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The median seconds of each call. The calls take turns: all see the same noise."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(CALLS + 20):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number >= 20:
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in taken.items()}
