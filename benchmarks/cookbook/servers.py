"""The servers under test: replicas of a recipe before Triton, or the whole stack."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.common import free_port, process, stack
from sluice.local.stack import Stack

HOST = "127.0.0.1"
START_TIMEOUT_S = 60
# Room for 5,000 images at once: the operator sizes the queue for the burst that must be kept.
QUEUE = {"SLUICE_QUEUE_MAX_BYTES": "2000000000", "SLUICE_QUEUE_MAX_BACKLOG": "20000"}
REDIS_MEMORY = "4gb"
# Each process runs its calls on threads of its own, on cores that Triton shares. The stack's own
# processes have the same.
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Target:
    """The address of one handler."""

    handler: str
    replicas: int
    port: int
    model: str

    @property
    def queue(self) -> bool:
        return self.handler == "queue"


@contextlib.contextmanager
def triton(models: Path) -> Iterator[Stack]:
    """Triton alone, with the repository `models`."""
    with stack("triton", models=models) as running:
        yield running


@contextlib.contextmanager
def recipe(running: Stack, handler: str, replicas: int) -> Iterator[Target]:
    """Replicas of a recipe, as processes on one port, before the stack's Triton."""
    port = free_port()
    model = "ensemble" if handler == "ensemble" else "recipe"
    command = ["-m", "benchmarks.cookbook.handlers", handler, "--port", str(port)]
    command += ["--triton", running.addresses.triton_grpc, "--model", model]
    with contextlib.ExitStack() as processes:
        pids = [
            processes.enter_context(process(*command, environment=THREADS)) for _ in range(replicas)
        ]
        _wait(port, pids)
        yield Target(handler, replicas, port, model)


@contextlib.contextmanager
def queue(models: Path, workers: int) -> Iterator[Target]:
    """The whole stack with so many workers."""
    options = {"workers": workers, "redis_max_memory": REDIS_MEMORY, "env": QUEUE}
    parts = ("redis", "triton", "worker", "webhooks", "api")
    with stack(*parts, models=models, **options) as running:
        yield queue_of(running, workers)


def queue_of(running: Stack, workers: int) -> Target:
    """The address of a stack's api."""
    port = urlsplit(running.addresses.api).port
    assert port is not None
    return Target("queue", workers, port, "queue")


def _wait(port: int, pids: list[int]) -> None:
    """Wait until each process has a listening socket on the port. Raises TimeoutError."""
    wanted, until = f":{port:04X}", time.monotonic() + START_TIMEOUT_S
    while True:
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        ready = sum(words[1].endswith(wanted) and words[3] == "0A" for words in lines[1:])
        if ready == len(pids):
            return
        if time.monotonic() > until:
            raise TimeoutError(f"{ready} of {len(pids)} replicas listen after {START_TIMEOUT_S} s")
        time.sleep(0.05)
