"""Helpers of the benchmarks: a stack, an image, processes, and their measurements."""

import os
import socket
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
from sluice.settings import RedisAddress

IMAGE = (CHECKOUT / "samples" / "desk.jpg").read_bytes()


@contextmanager
def stack(*parts: str, **options: object) -> Iterator[Stack]:
    """An embedded stack of these parts, in a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as state:
        config = StackConfig(state=Path(state), port=0, parts=frozenset(parts), **options)  # type: ignore[arg-type]
        with Stack(config) as running:
            yield running


def client(running: Stack) -> "redis.Redis":
    """A client of the stack's Redis."""
    return connection.connect(RedisAddress.parse(running.addresses.redis))


@contextmanager
def process(*command: str, environment: dict[str, str]) -> Iterator[int]:
    """Run a Python process while the context lasts; yields its process id."""
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


def free_port() -> int:
    """A port of this host that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def drained(left: Callable[[], int], total: int) -> float:
    """Wait until `left()` is 0; returns the items per second.

    The time begins when the first of `total` items is gone.
    """
    while left() >= total:
        time.sleep(0.002)
    first, before = time.perf_counter(), left()
    while left():
        time.sleep(0.002)
    return before / (time.perf_counter() - first)


def resident_mb(pid: int) -> float:
    """The memory of a process in MB; 0 for a process that has ended."""
    try:
        fields = Path(f"/proc/{pid}/status").read_text().split("VmRSS:")
    except OSError:
        return 0.0
    return int(fields[1].split()[0]) / 1000 if len(fields) > 1 else 0.0
