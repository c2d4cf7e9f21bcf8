"""The measurements of one round: the bare loop, and each service."""

import importlib.util
import json
import subprocess
import tempfile
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks.speed import bare
from benchmarks.speed.load import Job, send
from benchmarks.speed.models import Files
from benchmarks.speed.service import Service
from sluice.local.paths import BACKENDS, CHECKOUT, MODEL_REPOSITORY
from sluice.local.servers.triton import WHEEL_LIBRARIES

Sample = dict[str, float]
"""Figures by name, such as `ort.per_s`."""

CLIENTS = 16
IDLE_S = 15.0
BARE_S = 3.0
QUEUED = 1000
#: The models that 16 clients send to, and how many images.
COUNTS = {"ort": 160, "ort-plain": 96, "ov": 160, "ov-plain": 96, "codes": 960, "nothing": 1500}


def bare_loops(files: Files, names: Collection[str] = ("ort", "ov", "codes")) -> Sample:
    """Images a second, milliseconds, and milliseconds of processor of each bare loop."""
    codes = MODEL_REPOSITORY / "codes" / "1" / "model.onnx"
    graphs = {
        "ort": ("onnxruntime", files.detector),
        "ov": ("openvino", files.detector),
        "codes": ("openvino", codes),
    }
    graphs = {name: graphs[name] for name in names}
    jobs = [
        {"engine": engine, "file": str(file), "image": str(files.image), "seconds": BARE_S}
        for engine, file in graphs.values()
    ]
    with tempfile.TemporaryDirectory(prefix="sluice-speed-") as packages:
        _link_opencv(Path(packages))
        done = subprocess.run(
            [
                CHECKOUT / ".venv-triton/bin/python",
                bare.__file__,
                BACKENDS / "onnxruntime",
                packages,
            ],
            input=json.dumps(jobs),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return {
        f"{name}.{key}": value
        for name, figures in zip(graphs, json.loads(done.stdout), strict=True)
        for key, value in figures.items()
    }


def _link_opencv(folder: Path) -> None:
    """Lend OpenCV to Triton's environment, which has none of its own."""
    spec = importlib.util.find_spec("cv2")
    assert spec is not None
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    for path in (package, *(package.with_name(name) for name in WHEEL_LIBRARIES["cv2"])):
        if path.is_dir():
            (folder / path.name).symlink_to(path)


class Rounds:
    """Measures one service. `rows` are the groups of rows that are wanted."""

    def __init__(self, service: Service, files: Files, rows: Collection[str]) -> None:
        self._service = service
        self._files = files
        self._rows = rows
        self.sample: Sample = {}

    def alone(self) -> Sample:
        """Figures of the shipped service with one more model."""
        if self._want("idle"):
            before, start = sum(self._service.cpu_s().values()), time.perf_counter()
            time.sleep(IDLE_S)
            used = sum(self._service.cpu_s().values()) - before
            self.sample["idle.cores"] = used / (time.perf_counter() - start)
        if self._want("memory", "memory-ort"):
            self.sample["memory.rest_mb"] = self._service.pss_mb()
        if self._want("codes", "memory"):
            self._throughput("codes")
        if self._want("ort", "memory"):  # at last: after 10 s of rest, a model gives memory back
            self._throughput("ort")
        if self._want("memory", "memory-ort"):
            self.sample["memory.loaded_mb"] = self._service.pss_mb()
        if self._want("one"):
            self._one("ort", 24)
            self._one("codes", 40)
        if self._want("burst"):
            self._burst()
        return self.sample

    def together(self) -> Sample:
        """Figures of a service with other models."""
        if self._want("queued"):
            self._queued()
        for name in ("ort-plain", "ov", "ov-plain"):
            if self._want(name):
                self._throughput(name)
        if self._want("nothing"):
            self._throughput("nothing")
            self._throughput("nothing", self._files.small, "nothing-small")
        return self.sample

    def _want(self, *names: str) -> bool:
        return any(name in self._rows for name in names)

    def _job(self, model: str, clients: int, count: int) -> Job:
        headers = {"Content-Type": "image/jpeg", "Prefer": "wait=60"}
        path = f"/v1/predictions?model={model}"
        return Job(self._service.port, path, str(self._files.image), clients, count, headers)

    def _throughput(self, model: str, image: Path | None = None, name: str = "") -> None:
        name, count = name or model, COUNTS[model]
        job = replace(self._job(model, CLIENTS, count), file=str(image or self._files.image))
        send(replace(job, count=CLIENTS))
        cpu, store = self._service.cpu_s(), self._service.redis_cost()
        result = send(job)
        cpu_after = self._service.cpu_s()
        cost = self._service.redis_cost() - store
        used = {part: cpu_after[part] - cpu.get(part, 0) for part in cpu_after}
        self.sample |= {
            f"{name}.per_s": count / result["seconds"],
            f"{name}.cpu_ms": sum(used.values()) / count * 1000,
            f"{name}.detections": len(json.loads(result["sample"])["output"]["predictions"]),
            f"{name}.client_ms": result["cpu_s"] / count * 1000,
        }
        self.sample |= {
            f"{name}.cpu.{part}": seconds / count * 1000 for part, seconds in used.items()
        }
        self.sample |= {f"{name}.redis.{key}": value for key, value in cost.per(count).items()}

    def _one(self, model: str, count: int) -> None:
        times = send(self._job(model, 1, count))["total_s"][3:]
        self.sample[f"one.{model}_ms"] = median(times) * 1000

    def _burst(self) -> None:
        """100 submissions at once, each on a connection of its own. Then the queue runs empty."""
        send(self._job("codes", 1, 3))
        job = replace(self._job("codes", 100, 100), follow=False, fresh=True)
        job = replace(job, headers={"Content-Type": "image/jpeg"})
        times = sorted(send(job)["accept_s"])
        self.sample["burst.accept_p95_ms"] = quantiles(times, n=20)[-1] * 1000
        send(self._job("codes", 1, 1))  # the last one by age: then the queue is empty

    def _queued(self) -> None:
        """The memory of a queued prediction in Redis, beyond that of its image."""
        redis = self._service.redis
        job = replace(self._job("nothing", CLIENTS, QUEUED), file=str(self._files.small))
        job = replace(job, headers={"Content-Type": "image/jpeg"}, follow=False)
        with self._service.without_workers():
            send(replace(job, count=QUEUED // 4))  # buffers of connections grow to their size
            before = redis.info("memory")["used_memory"]
            send(job)
            grown = redis.info("memory")["used_memory"] - before
            size = self._files.small.stat().st_size
            images = _image_bytes(redis, size) * QUEUED / (QUEUED + QUEUED // 4)
        self.sample["queued.bytes"] = (grown - images) / QUEUED
        send(self._job("nothing", 1, 1))  # the last one by age: then the queue is empty


def _image_bytes(redis: Any, size: int) -> int:
    """The memory of all strings of `size` bytes."""
    total = 0
    for key in redis.scan_iter(count=1000, _type="string"):
        if redis.strlen(key) == size:
            total += redis.memory_usage(key, samples=0) or 0
    return total
