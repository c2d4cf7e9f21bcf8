"""`python -m benchmarks.gpu`: images a second, latency, GPU busy share, and CPU for a GPU.

Redis, the api and the workers are the embedded stack's. Triton is NVIDIA's, with ONNX Runtime's
CUDA provider, or with TensorRT by `--tensorrt`. Dynamic batching is as in the model's config. The
shipped detector is small: name the folder of your models by `--models` for figures of yours.

Without a GPU, the script says what is missing and ends with the status 3. `--cpu` runs the same
measurements on the embedded Triton, without the GPU's share.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from benchmarks.common import free_port
from benchmarks.gpu import devices, server
from benchmarks.speed import processes
from benchmarks.speed.load import Job, send
from sluice.local.paths import MODEL_REPOSITORY, SAMPLES
from sluice.local.stack import Stack, StackConfig

NOT_MEASURED = 3
CLIENTS = (1, 4, 16, 64, 256)
SECONDS = 10.0
WARM_UP = 20


@dataclass(frozen=True)
class Row:
    """The figures of one number of clients."""

    clients: int
    per_s: float
    median_ms: float
    p95_ms: float
    cpu_ms: float
    """Processor time an image of api, workers, senders and Redis; Triton's own is not in it."""
    batch: float
    """Images in one run of the graph, on average."""
    busy: float | None
    """The share of time in which the GPU ran a kernel."""

    @property
    def cores(self) -> float:
        return self.cpu_ms / 1000 * self.per_s

    @property
    def cores_for_a_gpu(self) -> float | None:
        """The cores that would keep one GPU busy all the time, if both grew alike."""
        return self.cores / self.busy if self.busy else None

    def line(self) -> str:
        busy = "-" if self.busy is None else f"{self.busy:.0%}"
        cores = self.cores_for_a_gpu
        return (
            f"{self.clients:>7} {self.per_s:>9.1f} {self.median_ms:>9.1f} {self.p95_ms:>9.1f}"
            f" {self.batch:>6.1f} {busy:>5} {self.cpu_ms:>7.2f} {self.cores:>6.2f}"
            f" {'-' if cores is None else f'{cores:.1f}':>11}"
        )


HEADER = (
    f"{'clients':>7} {'images/s':>9} {'median ms':>9} {'p95 ms':>9}"
    f" {'batch':>6} {'GPU':>5} {'CPU ms':>7} {'cores':>6} {'cores a GPU':>11}"
)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", type=Path, default=MODEL_REPOSITORY)
    parser.add_argument("--model", default="codes", help="the model of that folder (codes)")
    parser.add_argument("--image", type=Path, default=SAMPLES / "desk.jpg")
    parser.add_argument("--tensorrt", action="store_true", help="TensorRT in fp16")
    parser.add_argument("--triton", metavar="HOST:HTTP:GRPC", help="a Triton that runs already")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (2)")
    parser.add_argument("--concurrency", type=int, default=16, help="predictions at a time in each")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each row, about")
    parser.add_argument("--cpu", action="store_true", help="try the script without a GPU")
    chosen = parser.parse_args()
    gpus = devices.names()
    if not gpus and not chosen.cpu:
        print("Nothing was measured: nvidia-smi names no GPU on this machine.")
        print("A machine with an NVIDIA GPU and its driver is needed; --cpu tries the script.")
        return NOT_MEASURED
    print("GPU:", gpus[0] if gpus and not chosen.cpu else "none; the embedded Triton on CPUs")
    try:
        with _running(chosen) as (stack, triton):
            print(HEADER, flush=True)
            for clients in chosen.clients:
                print(_measure(stack, triton, clients, chosen).line(), flush=True)
    except server.NotHere as reason:
        print(f"Nothing was measured: {reason}")
        return NOT_MEASURED
    return 0


@contextmanager
def _running(chosen: argparse.Namespace) -> Iterator[tuple[Stack, server.Server]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluice-gpu-")))
        models = Path(shutil.copytree(chosen.models, folder / "models"))
        config = models / chosen.model / "config.pbtxt"
        if chosen.tensorrt:
            config.write_text(server.with_tensorrt(config.read_text()))
        parts, env = frozenset({"redis", "api", "worker"}), {}
        if chosen.cpu:
            parts |= {"triton"}
        else:
            triton = server.Server("127.0.0.1", free_port(), free_port())
            if chosen.triton:
                host, http, grpc = chosen.triton.split(":")
                triton = server.Server(host, int(http), int(grpc))
            else:
                stack.enter_context(server.started(models, triton, folder / "triton.log"))
            env["SLUICE_TRITON_HTTP_URL"] = triton.http_url
            env["SLUICE_TRITON_GRPC_URL"] = f"{triton.host}:{triton.grpc}"
        running = stack.enter_context(
            Stack(
                StackConfig(
                    state=folder / "state",
                    models=models,
                    port=0,
                    workers=chosen.workers,
                    concurrency=chosen.concurrency,
                    redis_max_memory="2gb",
                    env=env,
                    parts=parts,
                )
            )
        )
        if chosen.cpu:
            triton = _server_of(running)
        yield running, triton


def _server_of(stack: Stack) -> server.Server:
    host, _, http = stack.addresses.triton_http.removeprefix("http://").partition(":")
    return server.Server(host, int(http), int(stack.addresses.triton_grpc.partition(":")[2]))


def _measure(stack: Stack, triton: server.Server, clients: int, chosen: argparse.Namespace) -> Row:
    port = int(stack.addresses.api.rpartition(":")[2])
    headers = {"Content-Type": "image/jpeg", "Prefer": "wait=55"}
    path = f"/v1/predictions?model={chosen.model}"

    def job(count: int) -> Job:
        return Job(port, path, str(chosen.image), clients, count, headers)

    warm_up = max(WARM_UP, 2 * clients)
    start = time.perf_counter()
    send(job(warm_up), timeout_s=300)
    count = max(4 * clients, int(warm_up * chosen.seconds / (time.perf_counter() - start)))
    own = [pid for name, pid in stack.pids.items() if name not in ("triton", "reaper")]
    before, seen = processes.cpu_s(own), triton.images_and_runs(chosen.model)
    with ExitStack() as watched:
        busy = None if chosen.cpu else watched.enter_context(devices.Busy())
        result = send(job(count), timeout_s=600)
    images, runs = triton.images_and_runs(chosen.model)
    times = result["total_s"]
    return Row(
        clients=clients,
        per_s=count / result["seconds"],
        median_ms=median(times) * 1000,
        p95_ms=quantiles(times, n=20)[-1] * 1000,
        cpu_ms=(processes.cpu_s(own) - before) / count * 1000,
        batch=(images - seen[0]) / max(runs - seen[1], 1),
        busy=busy.share if busy else None,
    )


if __name__ == "__main__":
    sys.exit(main())
