"""The state directory: Redis's data, logs, and a record of the running processes.

A lock on a file lets one stack at a time use the directory.
"""

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


def running_stack(directory: Path) -> dict[str, Any] | None:
    """The description of the stack that runs on a state directory, or None where none runs."""
    try:
        content: dict[str, Any] = json.loads((directory / "stack.json").read_text())
        return content if _runs(str(content["pids"]["supervisor"])) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


class StateDirectory:
    """A state directory, made by `lock`. A stack can start on an empty one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.expanduser().resolve()
        self._lock: IO[str] | None = None

    @property
    def shm_prefix(self) -> str:
        """The prefix of this directory's shared memory segments: the same for each stack on it."""
        return f"sluice-{hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:12]}-"

    def folder(self, name: str) -> Path:
        """A folder inside, made when missing."""
        path = self.directory / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def log(self, name: str) -> Path:
        """The log file of the process `name`."""
        return self.folder("logs") / f"{name}.log"

    def lock(self) -> int:
        """Lock the directory, and return the lock's file descriptor.

        The lock lasts until every process that holds the descriptor has ended.

        Raises LocalStackError when another stack holds the lock, or the directory can't be written.
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
            # After the end of the supervisor, its reaper holds the lock a little longer.
            if time.monotonic() > end or not pid or _runs(pid):
                file.close()
                raise LocalStackError(
                    f"a stack already runs on {self.directory} (process {pid or 'unknown'});"
                    " stop it, or give another directory with --state"
                )
            time.sleep(0.05)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._lock = file
        return file.fileno()

    def remember(self, pids: Iterable[int]) -> None:
        """Record the running processes, for `end_leftovers` of the next stack."""
        wanted = set(pids)
        self._replace(
            "children.json",
            {
                str(process.pid): process.started
                for process in reaper.processes()
                if process.pid in wanted
            },
        )

    def end_leftovers(self) -> list[int]:
        """Kill the processes of a stack that died together with its reaper. Needs the lock.

        Returns their process ids. Two Redis servers on one append-only file would corrupt it.
        """
        try:
            recorded = json.loads((self.directory / "children.json").read_text())
        except (OSError, ValueError):
            return []
        pids = [
            process.pid
            for process in reaper.processes()
            if recorded.get(str(process.pid)) == process.started and not process.is_dead
        ]
        reaper.end(pids)
        return pids

    def unlock(self) -> None:
        """Release the lock, and remove the record of the running processes."""
        if self._lock is not None:
            for name in ("stack.json", "children.json"):
                (self.directory / name).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def write(self, content: dict[str, Any]) -> None:
        """Replace `stack.json`. Not thread-safe, and neither is `remember`."""
        self._replace("stack.json", content)

    def _replace(self, name: str, content: dict[str, Any]) -> None:
        """Replace a file atomically: a reader sees the old content or the new."""
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
    return any(str(process.pid) == pid and not process.is_dead for process in reaper.processes())
