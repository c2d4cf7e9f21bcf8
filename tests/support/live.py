"""A running stack, and the processes that it consists of."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.waiting import until


@dataclass(frozen=True)
class Live:
    """The stack that `sluice up --json` started."""

    api: str
    redis: str
    triton_http: str
    triton_grpc: str
    state: Path
    """The state directory."""
    workers: int
    """The number of worker processes."""
    process: "subprocess.Popen[str]"
    """The supervisor."""

    def pids(self) -> dict[str, int]:
        """The processes at this moment, by name; a restart changes them."""
        pids: dict[str, int] = json.loads((self.state / "stack.json").read_text())["pids"]
        return pids

    def worker_pids(self) -> list[int]:
        """The processes of all workers, once all run: a killed one takes a moment to return."""
        until(lambda: len(self._worker_pids()) == self.workers)
        return self._worker_pids()

    def _worker_pids(self) -> list[int]:
        return [pid for name, pid in self.pids().items() if name.startswith("worker-")]


@contextmanager
def live_stack(state: Path, *options: str, workers: int, env: Mapping[str, str]) -> Iterator[Live]:
    """Start a stack by the command that a person types, and stop it by SIGTERM."""
    command = [sys.executable, "-m", "sluice", "up", "--json", "--port", "0"]
    command += ["--workers", str(workers), "--state", str(state), *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **env}
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"sluice up ended with {process.wait()}"
        report = json.loads(line)
        names = ("api", "redis", "triton_http", "triton_grpc")
        addresses = {name: report["addresses"][name] for name in names}
        yield Live(**addresses, state=Path(report["state"]), workers=workers, process=process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        assert process.stdout.read() == ""
