"""The stack of docker-compose.yml on a real Docker engine; skipped without an engine."""

import json
import logging
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import cv2
import pytest

from sluice.client import ServiceError
from tests.support.client import Client
from tests.support.paths import ROOT
from tests.support.servers import free_port
from tests.support.waiting import until

log = logging.getLogger(__name__)

TRITON = "nvcr.io/nvidia/tritonserver:26.07-py3"  # many gigabytes, which no test pulls
# Five million pixels, so that a worker takes a while.
IMAGE = cv2.imencode(
    ".jpg", cv2.resize(cv2.imread(str(ROOT / "samples" / "desk.jpg")), None, fx=2, fy=2)
)[1].tobytes()
# The loss of a killed worker is noticed in seconds, not in half a minute.
QUICK = """
SLUICE_QUEUE_LEASE_S=5
SLUICE_QUEUE_SWEEP_INTERVAL_S=1
"""


def docker(
    *arguments: str,
    env: dict[str, str] | None = None,
    timeout_s: float = 900,
    stdin: IO[bytes] | None = None,
) -> str:
    """The output of a docker command. Raises AssertionError with docker's message."""
    ended = subprocess.run(
        ["docker", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env,
        timeout=timeout_s,
        check=False,
        stdin=stdin or subprocess.DEVNULL,
    )
    assert ended.returncode == 0, f"docker {' '.join(arguments)}: {ended.stdout}{ended.stderr}"
    return ended.stdout


@dataclass(frozen=True)
class Stack:
    project: str
    tag: str
    url: str
    ui_url: str
    """The page, which runs in the profile `ui` alone."""
    env: dict[str, str]

    def compose(self, *arguments: str, stdin: IO[bytes] | None = None) -> str:
        command = ["compose", "--project-name", self.project, *arguments]
        return docker(*command, env=self.env, stdin=stdin)

    def models(self, *arguments: str, files: Path | None = None) -> str:
        """Run `sluice models` in its service, with `files` as the folder that it starts in."""
        mount = ["--volume", f"{files}:/in:ro"] if files else []
        return self.compose("run", "--rm", "--no-TTY", *mount, "models", *arguments)

    def containers(self, service: str) -> list[dict[str, Any]]:
        """The service's containers as `docker inspect` describes them, in their numbers' order."""
        ids = self.compose("ps", "--all", "--quiet", service).split()
        containers: list[dict[str, Any]] = json.loads(docker("inspect", *ids)) if ids else []
        return sorted(containers, key=lambda container: str(container["Name"]))

    def lines(self, service: str, part: str) -> list[dict[str, Any]]:
        """The log of the service's containers. Each line is JSON of the process `part`."""
        # `docker compose logs` would add control sequences of a terminal.
        logs = [["docker", "logs", container["Id"]] for container in self.containers(service)]
        run = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "timeout": 60}
        written = "".join(subprocess.run(log, check=True, **run).stdout for log in logs)
        others = [line for line in written.splitlines() if not line.startswith('{"time":"')]
        assert not others, f"{service} wrote lines that are no JSON: {others[:5]}"
        lines: list[dict[str, Any]] = [json.loads(line) for line in written.splitlines()]
        for line in lines:
            first = ["time", "level", "part", "event", "message", "logger"]
            assert list(line)[: len(first)] == first, line
            assert line["part"] == part, line
        return lines

    def healthy(self, service: str) -> bool:
        return all(
            container["State"].get("Health", {}).get("Status") == "healthy"
            for container in self.containers(service)
        )

    def signal(self, service: str, name: str) -> None:
        """Signal the container's main process, from a container that sees the whole machine.

        From inside, no signal kills or stops a main process. After `docker kill` the engine does
        not restart a container, since that is an operator's wish.
        """
        (container,) = self.containers(service)
        kill = f"kill -{name} {container['State']['Pid']}"
        docker(
            "run",
            "--rm",
            "--pid=host",
            "--user=0",
            "--entrypoint=sh",
            f"sluice-worker:{self.tag}",
            "-c",
            kill,
        )

    @contextmanager
    def stopped(self, service: str) -> Iterator[None]:
        """Stop a service's process for a while; `docker pause` can fail on a busy machine."""
        self.signal(service, "STOP")
        try:
            yield
        finally:
            self.signal(service, "CONT")
        self.until(lambda: self.healthy(service))

    @staticmethod
    def until(condition: Callable[[], object]) -> None:
        """Wait for a container, which may take two minutes."""
        until(condition, 120, every_s=0.2)

    def crash(self, service: str) -> None:
        """Kill a service's process, and wait until the engine has restarted it."""
        (before,) = self.containers(service)
        since = time.monotonic()
        self.signal(service, "KILL")
        self.until(lambda: self.containers(service)[0]["RestartCount"] > before["RestartCount"])
        self.until(lambda: self.healthy(service))
        log.info("%s: killed, and healthy again after %.1f s", service, time.monotonic() - since)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that is built here, with quick settings and one worker; removed with its images."""
    if not shutil.which("docker"):
        pytest.skip("docker is not installed")
    for command in (
        ["docker", "compose", "version"],
        ["docker", "info"],
        ["docker", "image", "inspect", TRITON],
    ):
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if ended.returncode:
            pytest.skip(f"`{' '.join(command)}` failed: {(ended.stderr.splitlines() or ['?'])[-1]}")
    settings = tmp_path_factory.mktemp("e2e") / "sluice.env"
    settings.write_text(QUICK)
    project, port, ui_port = f"sluice-e2e-{os.getpid()}", str(free_port()), str(free_port())
    own = {
        "SLUICE_PORT": port,
        "SLUICE_UI_PORT": ui_port,
        "SLUICE_VERSION": project,
        "SLUICE_ENV_FILE": str(settings),
    }
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLUICE_", "COMPOSE_"))
    }
    urls = (f"http://127.0.0.1:{number}" for number in (port, ui_port))
    stack = Stack(project, project, *urls, inherited | own)
    try:
        since = time.monotonic()
        stack.compose("--profile", "models", "--profile", "ui", "build")
        log.info("built in %.1f s", time.monotonic() - since)
        since = time.monotonic()
        try:
            stack.compose("up", "--detach", "--wait")
        except AssertionError as error:
            error.add_note(stack.compose("logs", "--tail=20"))
            raise
        log.info("healthy after %.1f s", time.monotonic() - since)
        yield stack
    finally:
        stack.compose("--profile", "*", "down", "--volumes", "--remove-orphans")
        images = [f"sluice-{target}:{project}" for target in ("api", "worker", "ui", "cli")]
        docker("image", "rm", "--force", *images)
    label = f"label=com.docker.compose.project={project}"
    for kind in (["ps", "--all"], ["volume", "ls"], ["network", "ls"]):
        assert docker(*kind, "--quiet", "--filter", label) == ""


@dataclass
class Load:
    """Clients that submit one image again and again."""

    client: Client
    accepted: list[str] = field(default_factory=list)
    """The ids of accepted predictions."""
    refused: int = 0
    """The number of refused submissions."""

    @contextmanager
    def flowing(self, every_s: float = 0.1) -> Iterator[None]:
        stopped = threading.Event()

        def flow() -> None:
            while not stopped.wait(every_s):
                self._submit()

        thread = threading.Thread(target=flow)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def burst(self, count: int) -> None:
        """Submit until `count` more were accepted."""
        with ThreadPoolExecutor(8) as pool:
            while (left := count - sum(pool.map(lambda _: self._submit(), range(count)))) > 0:
                count = left

    def _submit(self) -> bool:
        try:
            self.accepted.append(self.client.submit(IMAGE)["id"])
        except ServiceError:
            self.refused += 1
            time.sleep(0.2)
            return False
        return True

    def count(self, status: str) -> int:
        """The number of accepted predictions with this status."""
        return sum(self.client.get(name)["status"] == status for name in self.accepted)

    def all_succeed(self) -> None:
        """Check that every accepted prediction succeeds, with the same result."""
        ended = [self.client.wait(name, timeout_s=300) for name in self.accepted]
        assert {prediction["status"] for prediction in ended} == {"succeeded"}
        assert (
            len(
                {
                    json.dumps([box["x"] for box in prediction["output"]["predictions"]])
                    for prediction in ended
                }
            )
            == 1
        )
        log.info("%d accepted, all succeeded; %d were refused", len(self.accepted), self.refused)


@pytest.fixture
def load(stack: Stack) -> Iterator[Load]:
    with Client(stack.url) as client:
        yield Load(client)
