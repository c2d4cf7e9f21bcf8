"""The checks of `sluice doctor` that need no extra: this machine, and the api by HTTP."""

import platform
import resource
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import httpx

from sluice import __version__

TIMEOUT_S = 3.0
_LEAST_DISK, _LEAST_SHM, _LEAST_FILES = 1 << 30, 128 << 20, 1024
_SHM = Path("/dev/shm")  # noqa: S108  # where regions that Triton shares lie


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    """The service works, but not as well or as safely as it could."""
    FAULT = "fault"
    """The service, or a part of it, can't work."""


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    subject: str
    level: Level
    text: str
    remedy: str = ""
    """The step that puts it right, if there is one."""


def basic_findings(address: str, key: str | None, state: Path) -> Iterator[Finding]:
    """Run the checks of this module. An api that does not answer is a fault, since it is all."""
    yield from versions()
    for finding in api(address, key):
        missing = finding.level is Level.WARNING and finding.text.startswith("no api")
        yield replace(finding, level=Level.FAULT) if missing else finding
    yield from machine(state)
    text = "Redis, Triton, the keys file, the settings and --reach are not checked"
    yield Finding("extras", Level.WARNING, text, "pip install 'sluice[operator]' to check them too")


def versions() -> Iterator[Finding]:
    """Python and Sluice."""
    text = f"Sluice {__version__} on Python {platform.python_version()}, {platform.system()}"
    yield Finding("versions", Level.OK, text)


def api(address: str, key: str | None) -> Iterator[Finding]:
    """The api's own view of the service, and who has its port where no api answers."""
    try:
        answer = httpx.get(f"{address}/readyz", timeout=TIMEOUT_S)
        ready = answer.json()
        yield from _of_ready(address, ready)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        load = httpx.get(f"{address}/v1/queue", headers=headers, timeout=TIMEOUT_S)
    except (httpx.HTTPError, ValueError) as error:
        yield _no_api(address, error)
        return
    if load.is_success:
        yield _workers(load.json())
    else:
        text = f"the number of workers is not known: the api answers {load.status_code}"
        yield Finding("workers", Level.WARNING, text, "give an API key with --key")


def _of_ready(address: str, ready: Any) -> Iterator[Finding]:
    if ready.get("status") == "ok":
        yield Finding("api", Level.OK, f"{address} is ready")
    else:
        parts = {name: text for name, text in ready.items() if isinstance(text, str)}
        said = ", ".join(f"{name}: {text}" for name, text in parts.items())
        yield Finding("api", Level.FAULT, f"{address} is not ready: {said}")
    for text in ready.get("warnings", ()):
        yield Finding("api", Level.WARNING, text)


def _workers(load: Any) -> Finding:
    text = f"{load['workers']} workers, {load['backlog']} predictions in the backlog"
    if load["workers"] or not load["backlog"]:
        return Finding("workers", Level.OK, text)
    return Finding("workers", Level.FAULT, text, "start a worker: python -m worker")


def _no_api(address: str, error: Exception) -> Finding:
    url = httpx.URL(address)
    try:
        socket.create_connection((url.host, url.port or 80), TIMEOUT_S).close()
    except OSError:
        remedy = "start it by `sluice up`, or name its address with --url"
        return Finding("api", Level.WARNING, f"no api answers at {address}", remedy)
    text = f"another program than the api answers at {address}: {error}"
    return Finding("api", Level.FAULT, text, "end that program, or choose another port with --port")


def machine(state: Path) -> Iterator[Finding]:
    """Disk, shared memory and open files of this machine."""
    yield from _disk(state)
    yield _shared_memory()
    yield _file_limit()


def _disk(state: Path) -> Iterator[Finding]:
    """The space for the embedded stack's data, and for temporary files."""
    for name, folder in (("state", state), ("temporary", Path(tempfile.gettempdir()))):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        text = f"{free / 2**30:.1f} GB are free for {name} files in {folder}"
        enough = free >= _LEAST_DISK
        yield Finding(
            "disk", Level.OK if enough else Level.WARNING, text, "" if enough else "free some"
        )


def _shared_memory() -> Finding:
    """The memory through which worker and Triton pass tensors on one host."""
    if not _SHM.is_dir():
        text = "there is no /dev/shm; tensors go to Triton over the network"
        return Finding("shared memory", Level.WARNING, text)
    usage = shutil.disk_usage(_SHM)
    text = f"{usage.free // 2**20} of {usage.total // 2**20} MB are free in /dev/shm"
    enough = usage.free >= _LEAST_SHM
    remedy = "" if enough else "give the container more: --shm-size, or shm_size in Compose"
    return Finding("shared memory", Level.OK if enough else Level.WARNING, text, remedy)


def _file_limit() -> Finding:
    """The bound on open files, of which each connection of a client takes one."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    enough = hard == resource.RLIM_INFINITY or hard >= _LEAST_FILES
    text = f"a process may open {'any number of' if hard == resource.RLIM_INFINITY else hard} files"
    remedy = "" if enough else "raise it: ulimit -Hn 65536"
    return Finding("file limit", Level.OK if enough else Level.WARNING, text, remedy)
