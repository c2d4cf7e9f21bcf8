"""The state directory: Redis's data, logs, and who runs on it now. One stack at a time, held by a lock on a file."""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from sluice.errors import LocalStackError
from sluice.local.supervision import reaper


def default_directory() -> Path:
    """`$XDG_STATE_HOME/sluice`, or `~/.local/state/sluice`."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "sluice"


class State:
    """A state directory. It is made when it is locked, and holds nothing that a stack needs to start."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.expanduser().resolve()
        self._lock: IO[str] | None = None

    @property
    def shm_prefix(self) -> str:
        """What the names of this stack's shared memory segments begin with: the same for every stack on this directory."""
        return f"sluice-{hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:12]}-"

    def folder(self, name: str) -> Path:
        """A folder in it, made if need be."""
        path = self.directory / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def log(self, name: str) -> Path:
        return self.folder("logs") / f"{name}.log"

    def lock(self) -> int:
        """Take it; the lock goes when every process that holds the returned descriptor is gone, however it went.

        Raises LocalStackError when another stack has it, or when the directory can't be written.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            file = (self.directory / "lock").open("a+")
        except OSError as error:
            raise LocalStackError(
                f"the state directory {self.directory} can't be used: {error.strerror}"
            ) from None
        end = time.monotonic() + reaper.GONE_TIMEOUT_S + 1
        while not _try_lock(file):
            file.seek(0)
            pid = file.read().strip()
            # Where that process is gone its guard is still ending what it left.
            if time.monotonic() > end or not pid or _runs(pid):
                file.close()
                raise LocalStackError(
                    f"a stack already runs on {self.directory} (process {pid or 'unknown'}); stop it, or give another"
                    " directory with --state"
                )
            time.sleep(0.05)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._lock = file
        return file.fileno()

    def remember(self, pids: Iterable[int]) -> None:
        """Note the processes that run here, for `end_leftovers` of a stack to come."""
        noted = set(pids)
        self._replace(
            "children.json",
            {str(seen.pid): seen.started for seen in reaper.processes() if seen.pid in noted},
        )

    def end_leftovers(self) -> list[int]:
        """End what a stack left running that was killed together with its guard; their process ids. Needs the lock.

        Two Redis servers on one append-only file would spoil it.
        """
        try:
            noted = json.loads((self.directory / "children.json").read_text())
        except (OSError, ValueError):
            return []
        pids = [
            seen.pid
            for seen in reaper.processes()
            if noted.get(str(seen.pid)) == seen.started and seen.state not in "ZX"
        ]
        reaper.end(pids)
        return pids

    def unlock(self) -> None:
        """Let go of it, and of the file that says who runs."""
        if self._lock is not None:
            for name in ("stack.json", "children.json"):
                (self.directory / name).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def write(self, content: dict[str, Any]) -> None:
        """Replace `stack.json`. One thread at a time, as for all that is written here."""
        self._replace("stack.json", content)

    def _replace(self, name: str, content: dict[str, Any]) -> None:
        """A reader sees the old one or the new one, never half."""
        path = self.directory / name
        new = path.with_suffix(".new")
        new.write_text(json.dumps(content, indent=2) + "\n")
        new.replace(path)


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _runs(pid: str) -> bool:
    return any(str(seen.pid) == pid and seen.state not in "ZX" for seen in reaper.processes())
