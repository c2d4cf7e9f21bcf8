"""NVIDIA's Triton with a GPU: the one at an address, this machine's, or a container's."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from sluice.local.paths import CHECKOUT

START_S = 600.0
"""TensorRT builds an engine for each model at its load, which takes minutes."""
BACKEND = Path("/opt/tritonserver/backends/onnxruntime")
_ACCELERATOR = re.compile(r"^optimization \{.*?^\}$|^optimization .*$", re.M | re.S)
_TENSORRT = (
    "optimization { execution_accelerators { gpu_execution_accelerator: [ {"
    ' name: "tensorrt" parameters { key: "precision_mode" value: "FP16" } } ] } }'
)


class NotHere(Exception):
    """Nothing here can run Triton on a GPU. The text says what to do."""


@dataclass(frozen=True)
class Server:
    """The ports of a Triton on a host."""

    host: str
    http: int
    grpc: int

    @property
    def http_url(self) -> str:
        return f"http://{self.host}:{self.http}"

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.http_url}/v2/health/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def images_and_runs(self, model: str) -> tuple[int, int]:
        """The images that the model has seen, and the runs of its graph."""
        answer = httpx.get(f"{self.http_url}/v2/models/{model}/stats", timeout=10).json()
        stats = answer["model_stats"][0]
        return int(stats["inference_count"]), int(stats["execution_count"])


def with_tensorrt(config: str) -> str:
    """The `config.pbtxt` with TensorRT in fp16 as the only accelerator."""
    return _ACCELERATOR.sub("", config).rstrip() + f"\n{_TENSORRT}\n"


def image() -> str:
    """The image of Triton that the Dockerfile names."""
    found = re.search(r"^FROM (\S*tritonserver\S*)", (CHECKOUT / "Dockerfile").read_text(), re.M)
    assert found
    return found[1]


def command(models: Path, server: Server) -> list[str]:
    """The command that runs Triton here. Raises NotHere, with what is missing."""
    arguments = [
        f"--http-port={server.http}",
        f"--grpc-port={server.grpc}",
        "--allow-metrics=false",
        "--exit-on-error=false",
    ]
    program = shutil.which("tritonserver") or shutil.which("/opt/tritonserver/bin/tritonserver")
    if program and BACKEND.is_dir():
        return [program, f"--model-repository={models}", *arguments]
    if shutil.which("docker"):
        options = ["--rm", "--gpus=all", "--network=host", "--ipc=host"]
        mount = f"--volume={models}:/models:ro"
        served = ["tritonserver", "--model-repository=/models", *arguments]
        return ["docker", "run", *options, mount, image(), *served]
    raise NotHere(
        "there is neither NVIDIA's tritonserver with its onnxruntime backend nor docker.\n"
        f"Run this inside {image()}, or install Docker with NVIDIA's container toolkit,\n"
        "or name a running Triton with --triton HOST:HTTP_PORT:GRPC_PORT"
    )


@contextmanager
def started(models: Path, server: Server, log: Path) -> Iterator[None]:
    """Run Triton while the context lasts. Raises NotHere where it can't start."""
    with (
        log.open("wb") as out,
        subprocess.Popen(command(models, server), stdout=out, stderr=out, env=os.environ) as run,
    ):
        try:
            end = time.monotonic() + START_S
            while not server.is_ready():
                if run.poll() is not None or time.monotonic() > end:
                    tail = log.read_text(errors="replace")[-2000:]
                    raise NotHere(f"Triton did not start:\n{tail}")
                time.sleep(0.5)
            yield
        finally:
            run.terminate()
            run.wait(timeout=60)
