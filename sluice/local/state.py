"""The state directory: Redis's data, logs, and who runs on it now. One stack at a time, held by a lock on a file."""

import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import IO, Any

from sluice.errors import LocalStackError


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
            raise LocalStackError(f"the state directory {self.directory} can't be used: {error.strerror}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            pid = file.read().strip() or "unknown"
            file.close()
            raise LocalStackError(
                f"a stack already runs on {self.directory} (process {pid}); stop it, or give another directory with --state"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._lock = file
        return file.fileno()

    def unlock(self) -> None:
        """Let go of it, and of the file that says who runs."""
        if self._lock is not None:
            (self.directory / "stack.json").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def write(self, content: dict[str, Any]) -> None:
        """Replace `stack.json`: a reader sees the old one or the new one, never half. One thread at a time."""
        path = self.directory / "stack.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps(content, indent=2) + "\n")
        new.replace(path)
