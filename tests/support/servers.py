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


def free_port(below: int = 32_000) -> int:
    """A random free port below Linux's ephemeral ports, so that nobody is given it meanwhile."""
    while True:
        port = random.randrange(20_000, below)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextlib.contextmanager
def redis_server(directory: Path, *arguments: str) -> Iterator[str]:
    """The URL of a new Redis that keeps an append-only file in `directory`.

    The program is the one in SLUICE_TEST_REDIS_SERVER, or the embedded stack's.
    """
    port = free_port()
    program = Path(os.environ.get("SLUICE_TEST_REDIS_SERVER") or find_server())
    more = ("--port", str(port), "--appendonly", "yes", *arguments)
    with redis.Redis(port=port) as client, redis_process(program, directory, client, *more):
        yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def redis_process(
    program: Path, directory: Path, client: "redis.Redis", *arguments: str
) -> Iterator[None]:
    """A new server with its files in `directory`, once `client` reaches it."""
    command = [str(program), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)]
    with (
        (directory / "log").open("wb") as log,
        subprocess.Popen([*command, *arguments], stdout=log, stderr=log) as process,
    ):
        try:
            _wait_for_redis(client, directory / "log")
            yield
        finally:
            process.terminate()


def _wait_for_redis(client: "redis.Redis", log: Path) -> None:
    until = time.monotonic() + _START_TIMEOUT_S
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
