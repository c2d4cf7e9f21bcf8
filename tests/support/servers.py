"""Real servers and processes for tests: a free port, a Redis, and processes that stand still."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import redis

from sluice.local.servers.redis import find_server

_START_TIMEOUT_S = 60


def free_port() -> int:
    """A random free port below Linux's ephemeral ports, so that nobody is given it meanwhile."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextlib.contextmanager
def redis_server(directory: Path, *arguments: str) -> Iterator[str]:
    """The URL of a new Redis that keeps an append-only file in `directory`."""
    port = free_port()
    command = [str(find_server()), "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
    command += ["--dir", str(directory), "--appendonly", "yes", *arguments]
    with (
        (directory / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:
            _wait_for_redis(port, directory / "log")
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


def _wait_for_redis(port: int, log: Path) -> None:
    until = time.monotonic() + _START_TIMEOUT_S
    with redis.Redis(port=port) as client:
        while True:
            try:
                client.ping()
                return
            except redis.exceptions.ConnectionError:
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.02)


@contextlib.contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Stop these processes for a while (SIGSTOP).

    Submissions stay queued, on a machine of any speed, while the workers are stopped.
    """
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
