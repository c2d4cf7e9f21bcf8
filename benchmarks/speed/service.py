"""A service of any checkout, started by the command that a person types."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import redis

from benchmarks.speed import processes
from benchmarks.speed.models import environment
from benchmarks.speed.redis_info import Cost
from sluice.local.paths import CHECKOUT

_REQUIREMENTS = Path("sluice/local/servers/triton.txt")


class Service:
    """A running stack. The parts have the supervisor's names."""

    def __init__(self, description: dict[str, dict[str, str]], stack_file: Path) -> None:
        self._stack_file = stack_file
        self.port = urlsplit(description["addresses"]["api"]).port or 0
        address = urlsplit(description["addresses"]["redis"])
        self.redis = redis.Redis(host=address.hostname or "", port=address.port or 0)

    def parts(self) -> dict[str, set[int]]:
        """The processes of each part: workers together, and Triton with the stubs of its models."""
        named: dict[str, int] = json.loads(self._stack_file.read_text())["pids"]
        parent_of = processes.parents()
        found: dict[str, set[int]] = {}
        for name, pid in named.items():
            others = set(named.values()) - {pid}
            part = "worker" if name.startswith("worker-") else name
            found.setdefault(part, set()).update(processes.descendants(pid, parent_of, others))
        return found

    def cpu_s(self) -> dict[str, float]:
        """The processor time so far, by part."""
        return {part: processes.cpu_s(pids) for part, pids in self.parts().items()}

    def pss_mb(self) -> float:
        return processes.pss_mb(set().union(*self.parts().values()))

    def redis_cost(self) -> Cost:
        return Cost.read(self.redis.info("cpu"), self.redis.info("commandstats"))  # type: ignore[arg-type]

    def kill_worker_and_redis(self) -> None:
        """Kill them at once. The supervisor starts them again."""
        parts = self.parts()
        for pid in parts["worker"] | parts["redis"]:
            os.kill(pid, signal.SIGKILL)

    @contextmanager
    def without_workers(self) -> Iterator[None]:
        """Workers and keepers stand still, so that predictions stay queued."""
        parts = self.parts()
        pids = parts.get("worker", set()) | parts.get("keeper", set())
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


@contextmanager
def running(checkout: Path, models: Path) -> Iterator[Service]:
    """Run the checkout's service on a model repository, with an empty state folder."""
    with tempfile.TemporaryDirectory(prefix="sluice-speed-") as state:
        command = [sys.executable, "-m", "sluice", "up", "--json", "--port", "0"]
        command += ["--state", state, "--models", str(models)]
        with subprocess.Popen(
            command,
            cwd=checkout,
            env=environment(checkout) | _triton(checkout),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stderr is not None
                line = process.stdout.readline()
                if not line:
                    raise RuntimeError(f"sluice up ended: {process.stderr.read()[-2000:]}")
                service = Service(json.loads(line), Path(state) / "stack.json")
                time.sleep(1)  # for what processes do after they are ready
                yield service
                service.redis.close()
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=60)


def _triton(checkout: Path) -> dict[str, str]:
    """The setting for this checkout's Triton environment, if the other needs the same packages.

    A checkout with other packages would remake the environment.
    """
    same = (checkout / _REQUIREMENTS).read_bytes() == (CHECKOUT / _REQUIREMENTS).read_bytes()
    chosen = CHECKOUT if same else checkout
    return {"SLUICE_LOCAL_TRITON_ENV": str(chosen / ".venv-triton")}
