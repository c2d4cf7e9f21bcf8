"""Several real Tritons at different loopback addresses, and calls to them."""

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np

from sluice.errors import TritonUnavailable
from sluice.local.servers import triton as local
from sluice.local.servers import triton_env
from sluice.local.supervision import shm
from sluice.vision.triton.client import Triton
from sluice.vision.triton.errors import ModelReplaced
from tests.support.paths import ROOT
from tests.support.servers import stopped
from tests.support.waiting import until

HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
MAX_AGE_MS = 2000  # k8s/base/triton.yaml has 10,000
_EXECUTE = "    def execute(self, requests):\n"
_HANGING = """\
        import os, time
        while os.path.exists(os.environ["HANGS_WHILE"]):
            time.sleep(0.1)
"""


class Servers:
    """Tritons with the same ports at different loopback addresses, as pods have them."""

    def __init__(self, directory: Path) -> None:
        self._env = triton_env.ensure()
        self._directory = directory
        self._prefix = f"sluice-balance-{os.getpid()}-"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = local.TritonPorts(*free_ports(3))
        local.prepare(directory, self._env)
        change_execute(directory, _HANGING)

    def start(self, host: str, models: Path = ROOT / "model_repository") -> None:
        command = local.command(
            self._env, self._directory, models, self.ports, f"{self._prefix}{host}-"
        )
        command = [part.replace("-address=127.0.0.1", f"-address={host}") for part in command]
        command += [
            f"--grpc-max-connection-age={MAX_AGE_MS}",
            "--grpc-max-connection-age-grace=15000",
        ]
        with (self._directory / f"{host}.log").open("wb") as log:
            environment = local.environment(self._env, self._directory, os.environ)
            environment["HANGS_WHILE"] = str(self._hang_file(host))
            self._running[host] = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        until(lambda: self._answers(host), 60)

    def stop(self, host: str) -> None:
        """Stop a server as Kubernetes stops a pod."""
        process = self._running[host]
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        self.kill(host)  # the rest of its process group

    def kill(self, host: str) -> None:
        process = self._running.pop(host)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    @contextlib.contextmanager
    def stopped(self, host: str) -> Iterator[None]:
        """The process stands still. The kernel acknowledges bytes, and nothing answers them."""
        with stopped(self._running[host].pid):
            yield

    @contextlib.contextmanager
    def hanging(self, host: str) -> Iterator[None]:
        """The server answers everything but inferences."""
        self._hang_file(host).touch()
        try:
            yield
        finally:
            self._hang_file(host).unlink()

    def close(self) -> None:
        for host in list(self._running):
            self.kill(host)
        shm.remove(self._prefix)

    def metrics(self, host: str) -> str:
        return httpx.get(f"http://{host}:{self.ports.metrics}/metrics").text

    def inferences(self, host: str) -> int:
        match = re.search(
            r'^nv_inference_request_success\{model="codes",[^}]*\} (\d+)',
            self.metrics(host),
            re.MULTILINE,
        )
        return int(match[1]) if match else 0

    def _hang_file(self, host: str) -> Path:
        return self._directory / f"{host}.hangs"

    def _answers(self, host: str) -> bool:
        assert self._running[host].poll() is None, (self._directory / f"{host}.log").read_text()
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"http://{host}:{self.ports.http}/v2/health/ready").status_code == 200
        return False


def change_execute(directory: Path, code: str) -> None:
    """Put lines before each run of a model, in a folder that `prepare` has filled."""
    backend = directory / "backends" / "onnxruntime" / "model.py"
    text = backend.read_text()
    assert _EXECUTE in text
    backend.write_text(text.replace(_EXECUTE, _EXECUTE + code))


def free_ports(count: int) -> list[int]:
    """Ports below Linux's ephemeral ones that are free at each of HOSTS."""
    chosen: list[int] = []
    while len(chosen) < count:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for host in HOSTS:
                stack.enter_context(socket.create_server((host, port)))
            if port not in chosen:
                chosen.append(port)
    return chosen


def infer(triton: Triton) -> None:
    """One inference, as the pipeline makes it."""
    while True:
        model = triton.model("codes")
        try:
            with triton.slot(model) as slot:
                slot.input[...] = np.uint8(128)
                slot.infer()
                return
        except ModelReplaced:
            continue


def infer_again(triton: Triton) -> bool:
    """An inference, made again where gRPC sent it while the server closed the connection.

    True where that was so: the connection had reached its age, and the server said GOAWAY.
    """
    try:
        infer(triton)
    except TritonUnavailable as error:
        if "GOAWAY" not in str(error.__cause__):
            raise
        infer(triton)
        return True
    return False
