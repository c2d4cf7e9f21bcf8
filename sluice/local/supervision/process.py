"""One child process and its group: started so that a guard knows of it, ended with all that it started itself."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sluice.local.supervision import reaper

GONE_TIMEOUT_S = 1.0
LOG_LIMIT_BYTES = 10_000_000

# The child tells the guard of itself before it becomes the program, so that no moment is left at which it runs unknown.
_ANNOUNCE = 'echo "+ $$" >&0 && exec "$@" </dev/null'


@dataclass(frozen=True)
class Spec:
    """What to run. `is_ready` is called again and again, and should answer within a second."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    is_ready: Callable[[], bool]
    ready_timeout_s: float = 60.0
    cwd: Path | None = None
    stop_signal: int = signal.SIGTERM
    grace_s: float = 1.0
    tier: int = 0  # the highest is stopped first, and one tier at a time
    clean: Callable[[], None] = lambda: None  # before each start and after the last end
    trouble: Callable[[int], str | None] = lambda pid: (
        None
    )  # given its pid, why it must be started again though it runs


class Process:
    """A running child. Its output goes to the end of `log`; the log of an earlier day is set aside when it is long."""

    def __init__(self, spec: Spec, log: Path, guard_fd: int) -> None:
        """Raises OSError when it can't be started."""
        if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
            log.replace(log.with_suffix(".log.1"))
        self.spec = spec
        self.log = log
        self._guard_fd = guard_fd
        self._lock = threading.Lock()
        with log.open("ab") as output:
            self._log_start = output.tell()
            self._popen = subprocess.Popen(
                ["/bin/sh", "-c", _ANNOUNCE, "sh", *spec.command],
                stdin=guard_fd,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(spec.env),
                cwd=spec.cwd,
                start_new_session=True,  # Ctrl-C in the terminal is the supervisor's to handle
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended; waits for that."""
        end = time.monotonic() + timeout_s
        while not self._ended():
            if time.monotonic() >= end:
                return False
            time.sleep(0.02)
        return True

    def signal(self, number: int) -> None:
        """To its first process only, which knows what to do with the others."""
        with self._lock:
            if not self._ended():
                os.kill(self.pid, number)

    def finish(self) -> int:
        """End whatever is left of its group, at once; returns the exit status, negative for a signal."""
        with self._lock:
            if self._popen.returncode is None:
                # Until it is reaped, its number is nobody else's.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
                self._popen.wait()
                end = time.monotonic() + GONE_TIMEOUT_S
                while reaper.alive({self.pid}) and time.monotonic() < end:
                    time.sleep(0.01)
                with contextlib.suppress(OSError):
                    os.write(self._guard_fd, f"- {self.pid}\n".encode())
            return int(self._popen.returncode)

    def last_lines(self, count: int = 12) -> list[str]:
        """The end of what this child, not the one before it, has written."""
        with self.log.open("rb") as file:
            file.seek(max(self._log_start, self.log.stat().st_size - 8192))
            return file.read().decode(errors="replace").splitlines()[-count:]

    def _ended(self) -> bool:
        if self._popen.returncode is not None:
            return True
        try:
            # Without reaping it, which would free its number while its group may still run.
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # another thread has reaped it
            return True
