"""Api processes without a supervisor: each on a port of its own, ended and started by the test."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.servers import free_port
from tests.support.waiting import until

_NOWHERE = "http://127.0.0.1:1"


@dataclass(frozen=True)
class ApiProcess:
    """`python -m api`, whose log is a file."""

    port: int
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def api_process(
    log: Path, env: Mapping[str, str], *, port: int | None = None, files: int | None = None
) -> Iterator[ApiProcess]:
    """Start an api, and kill it at the end if it still runs.

    `files` bounds how many files the process may have open. Without an address of Triton in `env`,
    no Triton can be reached.
    """
    port = port or free_port()
    here = {"SLUICE_API_HOST": "127.0.0.1", "SLUICE_API_PORT": str(port)}
    triton = {"SLUICE_TRITON_HTTP_URL": _NOWHERE}
    command = [sys.executable, "-m", "api"]
    if files:
        command = ["bash", "-c", f'ulimit -n {files} && exec "$@"', "bash", *command]
    with (
        log.open("ab") as out,
        subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, **triton, **env, **here}
        ) as process,
    ):
        api = ApiProcess(port, process, log)
        try:
            until(lambda: _answers(api), what=f"the api of {log}")
            yield api
        finally:
            process.kill()


def _answers(api: ApiProcess) -> bool:
    assert api.process.poll() is None, api.log.read_text()
    try:
        return httpx.get(f"{api.url}/healthz", timeout=5).is_success
    except httpx.HTTPError:
        return False
