"""Both recipes under the same load: images a second, and processor time by process.

The load comes from threads of this process, which run the pipeline as a worker does. The recipes
take turns, so that both see the same noise.
"""

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2

from benchmarks.common import IMAGE, client, stack
from benchmarks.speed.processes import cpu_s
from sluice.blobs.store import RedisBlobs, input_key
from sluice.local.paths import MODEL_REPOSITORY
from sluice.local.supervision import reaper
from sluice.prediction import Prediction, Status
from sluice.vision.triton.client import Triton
from worker.pipeline import Pipeline
from worker.stages import Stages

THREADS, IMAGES, ROUNDS = 4, 200, 4
RECIPES: dict[str, list[str]] = {"worker": [], "ensemble": ["--ensemble"]}


def main() -> None:
    cv2.setNumThreads(1)
    with _repository() as models, stack("redis", "triton", models=models) as running:
        engine = Triton(running.addresses.triton_grpc, timeout_s=60)
        blobs = RedisBlobs(client(running))
        blobs.put(input_key("a", ""), IMAGE, 3600)
        pipeline = Pipeline(blobs, engine, 50_000_000, 3600, fetch=str.encode)
        seconds, cpu = Counter[str](), {recipe: Counter[str]() for recipe in RECIPES}
        for number in range(ROUNDS + 1):  # the first round warms up
            for recipe in RECIPES:
                before, start = _cpu(running.pids["triton"]), time.perf_counter()
                _load(pipeline, recipe, 20 if number == 0 else IMAGES)
                if number:
                    seconds[recipe] += time.perf_counter() - start  # type: ignore[assignment]
                    cpu[recipe].update(_difference(_cpu(running.pids["triton"]), before))
        engine.close()
    _print(seconds, cpu)


def _load(pipeline: Pipeline, recipe: str, count: int) -> None:
    prediction = Prediction(id="a", model=recipe, status=Status.PROCESSING, created_at=0)
    with ThreadPoolExecutor(THREADS) as threads:
        for future in [threads.submit(pipeline.run, prediction, Stages()) for _ in range(count)]:
            assert future.result()["predictions"]


@contextmanager
def _repository() -> Iterator[Path]:
    """A repository with the shipped detector by both recipes, under their names."""
    file = MODEL_REPOSITORY / "codes" / "1" / "model.onnx"
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        for recipe, options in RECIPES.items():
            command = [sys.executable, "-m", "sluice", "models", "add", str(file), "--name", recipe]
            command += ["--names", "qr_code,barcode,marker", "--repository", folder, *options]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        yield Path(folder)


def _cpu(triton: int) -> dict[str, float]:
    """The processor time so far in seconds, by the part of the work that a process does."""
    found = Counter({"worker": time.process_time(), "triton server": cpu_s([triton])})
    for process in reaper.processes():
        if process.parent == triton and process.state != "Z":
            words = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode().split("\0")
            model = Path(words[1]).parent.parent.name
            found[_part(model)] += cpu_s([process.pid])
    return dict(found)


def _part(model: str) -> str:
    name, _, step = model.rpartition(".")
    return step if name else "network"


def _difference(after: dict[str, float], before: dict[str, float]) -> dict[str, float]:
    return {part: seconds - before.get(part, 0) for part, seconds in after.items()}


def _print(seconds: Counter[str], cpu: dict[str, Counter[str]]) -> None:
    total = IMAGES * ROUNDS
    print(f"{THREADS} threads, {total} images by each recipe, alternating")
    print(f"  {'':<24}" + "".join(f"{recipe:>12}" for recipe in RECIPES) + f"{'ratio':>8}")
    rows = {"images a second": {recipe: total / seconds[recipe] for recipe in RECIPES}}
    parts = ["worker", "triton server", "prepare", "network", "finish"]
    for part in parts:
        rows[f"ms of CPU: {part}"] = {r: cpu[r][part] / total * 1000 for r in RECIPES}
    rows["ms of CPU: all"] = {r: sum(cpu[r].values()) / total * 1000 for r in RECIPES}
    for name, row in rows.items():
        worker, ensemble = row["worker"], row["ensemble"]
        ratio = f"{ensemble / worker:>8.2f}" if worker >= 0.05 else ""
        print(f"  {name:<24}{worker:>12.1f}{ensemble:>12.1f}{ratio}")
