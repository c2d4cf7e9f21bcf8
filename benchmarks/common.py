"""What the benchmarks share: a stack without api and workers, an image, and the worker process under test."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from sluice.local.paths import CHECKOUT
from sluice.local.stack import Stack, StackConfig
from sluice.redisio import connection

IMAGE = (CHECKOUT / "samples" / "desk.jpg").read_bytes()
TIMEOUTS = {"connect_timeout_s": 1.0, "timeout_s": 10.0}


@contextmanager
def stack(*parts: str, **options: object) -> Iterator[Stack]:
    """An embedded stack of these parts, under a directory that goes with it."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as state:
        config = StackConfig(state=Path(state), port=0, parts=frozenset(parts), **options)  # type: ignore[arg-type]
        with Stack(config) as running:
            yield running


def client(running: Stack) -> "redis.Redis":
    return connection.connect(running.addresses.redis, **TIMEOUTS)


@contextmanager
def process(*command: str, environment: dict[str, str]) -> Iterator[int]:
    """The process id of a Python process of ours, ended with the context."""
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=CHECKOUT,
        env=os.environ | environment,
        stderr=subprocess.DEVNULL,
    ) as running:
        try:
            yield running.pid
        finally:
            running.terminate()
            running.wait(timeout=60)


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has used, in all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def drained(left: Callable[[], int], total: int) -> float:
    """Items per second from the moment at which the first is gone to that at which the last is."""
    while left() >= total:
        time.sleep(0.002)
    first, before = time.perf_counter(), left()
    while left():
        time.sleep(0.002)
    return before / (time.perf_counter() - first)


def resident_mb(pid: int) -> float:
    """The memory of a process in MB; 0 where there is none."""
    try:
        fields = Path(f"/proc/{pid}/status").read_text().split("VmRSS:")
    except OSError:
        return 0.0
    return int(fields[1].split()[0]) / 1000 if len(fields) > 1 else 0.0
