"""Starts the peers, and measures each as the service is measured."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.common import free_port
from benchmarks.speed import processes
from benchmarks.speed.load import Job, send
from benchmarks.speed.measure import CLIENTS, COUNTS, Sample
from benchmarks.speed.models import Files
from sluice.local.paths import BACKENDS, CHECKOUT
from sluice.local.servers import redis
from sluice.local.servers.venv import Venv

BIN = CHECKOUT / ".venv-peers" / "bin"
_START_S = 90.0
_BOUNDARY = "7c1f0b9a"
_FORM = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
_RAW = {"Content-Type": "application/octet-stream"}
# More looks would cost the peer processor time. With 16 clients its queue never runs empty.
_POLLED = {"poll": "/predictions/{id}", "poll_every_s": 0.25, "done": '"status":"SUCCESS"'}
_POLLED |= {"pending": ('"status":"PENDING"', '"status":"STARTED"', '"status":"RETRY"')}
#: The name of the form's field, by the peer whose API takes forms only.
FORMS = {"LitServe": "request", "BentoML": "image"}
NAMES = ("LitServe", "BentoML", "Celery", "Ray Serve")


def environment() -> Venv:
    """The peers' environment, which the first run makes."""
    requirements = Path(__file__).with_name("peers.txt")
    return Venv("the peers' environment", requirements, "about 300 MB", BIN.parent)


@dataclass
class Peer:
    """A running peer."""

    name: str
    port: int
    commands: list[list[str]]
    environment: dict[str, str]
    log: Path
    started: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    """A process for each command. All others are below them."""

    def start(self) -> None:
        """Run the commands whose processes do not run."""
        running = {tuple(process.args): process for process in self.started}  # type: ignore[arg-type]
        self.started = [
            running.get(tuple(command)) or self._run(command) for command in self.commands
        ]

    def kill(self, *numbers: int) -> None:
        """Kill processes by the number of their command, all at once."""
        killed = [self.started[number] for number in numbers]
        for process in killed:
            process.kill()
        for process in killed:
            process.wait()
        self.started = [process for process in self.started if process not in killed]

    def pids(self) -> set[int]:
        parent_of = processes.parents()
        return set().union(
            *(processes.descendants(process.pid, parent_of) for process in self.started)
        )

    def end(self) -> None:
        for process in self.started:
            _end(process)

    def _run(self, command: list[str]) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=CHECKOUT,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def measure(self, files: Files) -> Sample:
        """The figures that the service's sample has for the model `ort`."""
        job = self.job(files)
        until_answered(job)
        rest_mb = processes.pss_mb(self.pids())
        send(replace(job, count=CLIENTS))
        before = processes.cpu_s(self.pids())
        result = send(job)
        used = processes.cpu_s(self.pids()) - before
        return {
            "ort.per_s": job.count / result["seconds"],
            "ort.cpu_ms": used / job.count * 1000,
            "ort.detections": result["sample"].count('"class_id"'),
            "memory.rest_mb": rest_mb,
            "memory.loaded_mb": processes.pss_mb(self.pids()),
        }

    def job(self, files: Files) -> Job:
        """The load of 16 clients."""
        count = COUNTS["ort"]
        if self.name in FORMS:
            form = files.folder / f"{FORMS[self.name]}.form"
            form.write_bytes(_form(FORMS[self.name], files.image.read_bytes()))
            return Job(
                self.port, "/predict", str(form), CLIENTS, count, _FORM, done='"predictions":[{'
            )
        return Job(self.port, "/predictions", str(files.image), CLIENTS, count, _RAW, **_POLLED)  # type: ignore[arg-type]


@contextmanager
def running(name: str, files: Files, *, append_only: bool = True) -> Iterator[Peer]:
    """Run a peer on the detector as exported.

    Redis keeps an append-only file as the service's does. Otherwise Redis has its own defaults.
    """
    port, store = free_port(), free_port()
    settings = {
        "PEERS_ENGINES": str(BACKENDS / "onnxruntime"),
        "PEERS_MODEL": str(files.detector),
        "PEERS_REDIS": f"redis://127.0.0.1:{store}/0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "BENTOML_DO_NOT_TRACK": "1",
    }
    with tempfile.TemporaryDirectory(prefix="sluice-peer-") as temporary:
        folder, commands = Path(temporary), _commands(name, port)
        if name in ("Celery", "Ray Serve"):
            command = redis.command(redis.find_server(), store, folder, "512mb")
            plain = [command[0], "--port", str(store), "--dir", str(folder)]
            commands.insert(0, command if append_only else plain)
        peer = Peer(name, port, commands, _environment() | settings, folder / "log")
        try:
            peer.start()
            yield peer
        except (RuntimeError, TimeoutError) as error:
            raise RuntimeError(f"{name}: {error}\n{peer.log.read_text()[-3000:]}") from error
        finally:
            peer.end()


def _commands(name: str, port: int) -> list[list[str]]:
    python = [str(BIN / "python"), "-m"]
    if name == "LitServe":
        return [[*python, "benchmarks.peers.with_litserve", str(port)]]
    if name == "BentoML":
        options = ["--host", "127.0.0.1", "--port", str(port)]
        return [[*python, "bentoml", "serve", "benchmarks.peers.with_bentoml:Service", *options]]
    if name == "Celery":
        module = "benchmarks.peers.with_celery"
        worker = ["-A", f"{module}:queue", "worker", "--pool=threads", "--concurrency=2"]
        options = ["--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
        return [[*python, "celery", *worker], [*python, "uvicorn", f"{module}:app", *options]]
    return [[*python, "benchmarks.peers.with_ray", str(port)]]


def _environment() -> dict[str, str]:
    path = f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(CHECKOUT)}


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process, and all that it started: some have groups of their own."""
    pids = processes.descendants(process.pid, processes.parents())
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def until_answered(job: Job) -> None:
    """Wait for the first result. Raises TimeoutError."""
    end = time.monotonic() + _START_S
    while True:
        try:
            send(replace(job, clients=1, count=1), timeout_s=20)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            if time.monotonic() > end:
                raise TimeoutError(f"no result after {_START_S:.0f} s: {error}") from error
            time.sleep(1)
        else:
            return


def _form(field: str, data: bytes) -> bytes:
    head = f'Content-Disposition: form-data; name="{field}"; filename="image.jpg"'
    lines = f"--{_BOUNDARY}\r\n{head}\r\nContent-Type: image/jpeg\r\n\r\n"
    return lines.encode() + data + f"\r\n--{_BOUNDARY}--\r\n".encode()
