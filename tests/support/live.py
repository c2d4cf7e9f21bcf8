"""A running stack, and the processes that it consists of."""

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

WORKERS = 2


@dataclass(frozen=True)
class Live:
    """The stack that `sluice up --json` started."""

    api: str
    redis: str
    triton_http: str
    triton_grpc: str
    state: Path
    """The state directory."""
    process: "subprocess.Popen[str]"
    """The supervisor."""

    def pids(self) -> dict[str, int]:
        """The processes at this moment, by name; a restart changes them."""
        pids: dict[str, int] = json.loads((self.state / "stack.json").read_text())["pids"]
        return pids

    def worker_pids(self) -> list[int]:
        """The processes of all workers, once all run: a killed one takes a moment to return."""
        until = time.monotonic() + 60
        while True:
            pids = [pid for name, pid in self.pids().items() if name.startswith("worker-")]
            if len(pids) == WORKERS:
                return pids
            assert time.monotonic() < until, pids
            time.sleep(0.05)
