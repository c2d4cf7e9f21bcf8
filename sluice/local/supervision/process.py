"""One child process and its process group. The reaper knows of the child from its first moment."""

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sluice.local.supervision import reaper

GONE_TIMEOUT_S = 1.0
POLL_S = 0.02
LOG_LIMIT_BYTES = 10_000_000

# The child announces itself to the reaper before it becomes the program.
# At no moment does a child run that the reaper does not know.
_ANNOUNCE = 'echo "+ $$" >&0 && exec "$@" </dev/null'


@dataclass(frozen=True)
class Spec:
    """A process to run."""

    name: str
    """The name in messages, and of the log file."""

    command: Sequence[str]
    """The program and its arguments."""

    env: Mapping[str, str]
    """The whole environment."""

    is_ready: Callable[[], bool]
    """The readiness check. Called again and again; answers within a second."""

    ready_timeout_s: float = 120.0
    """The longest time from the start until `is_ready`."""

    cwd: Path | None = None
    """The working directory. None: the supervisor's."""

    stop_signal: int = signal.SIGTERM
    """The signal that asks the process to stop."""

    grace_s: float = 1.0
    """The time between `stop_signal` and SIGKILL."""

    tier: int = 0
    """The place in the order of stopping: one tier at a time, the highest first."""

    clean: Callable[[], None] = lambda: None
    """Removes leftovers. Called before each start, and after the last end."""

    trouble: Callable[[int], str | None] = lambda pid: None
    """The reason to restart the running process `pid`, or None."""


class Process:
    """A running child.

    The child's output is appended to `log`. A long log of an earlier run is set aside first.
    """

    def __init__(self, spec: Spec, log: Path, reaper_fd: int) -> None:
        """Raises OSError when the process can't be started."""
        if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
            log.replace(log.with_suffix(".log.1"))
        self.spec = spec
        self.log = log
        self._reaper_fd = reaper_fd
        self._lock = threading.Lock()
        with log.open("ab") as output:
            self._log_start = output.tell()
            self._popen = subprocess.Popen(
                ["/bin/sh", "-c", _ANNOUNCE, "sh", *spec.command],
                stdin=reaper_fd,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(spec.env),
                cwd=spec.cwd,
                start_new_session=True,  # only the supervisor handles the terminal's Ctrl-C
            )
        self._pidfd = self._open_pidfd()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def wait(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s` for the end of the process. True: the process has ended."""
        end = time.monotonic() + timeout_s
        while not self._ended():
            left_s = end - time.monotonic()
            if left_s <= 0:
                return False
            self._sleep(left_s)
        return True

    def signal(self, number: int) -> None:
        """Send a signal to the first process of the group only."""
        with self._lock:
            if not self._ended():
                os.kill(self.pid, number)

    def finish(self) -> int:
        """Kill the rest of the group. Returns the exit status, negative for a signal."""
        with self._lock:
            if self._popen.returncode is None:
                # No other process can have this number before this one is waited for.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
                self._popen.wait()
                end = time.monotonic() + GONE_TIMEOUT_S
                while reaper.alive({self.pid}) and time.monotonic() < end:
                    time.sleep(0.01)
                with contextlib.suppress(OSError):
                    os.write(self._reaper_fd, f"- {self.pid}\n".encode())
            return int(self._popen.returncode)

    def last_lines(self, count: int = 12) -> list[str]:
        """The last lines that this child has written. Lines of earlier children are left out."""
        with self.log.open("rb") as file:
            file.seek(max(self._log_start, self.log.stat().st_size - 8192))
            return file.read().decode(errors="replace").splitlines()[-count:]

    def _open_pidfd(self) -> int | None:
        """A descriptor that is readable from the end of the process; None on an old kernel."""
        try:
            pidfd = os.pidfd_open(self.pid)
        except OSError:
            return None
        # Threads that still wait for the process use the descriptor until they drop this object.
        weakref.finalize(self, os.close, pidfd)
        return pidfd

    def _sleep(self, timeout_s: float) -> None:
        """Sleep until the process ends, at most `timeout_s`; without a pidfd, for a moment."""
        if self._pidfd is None:
            time.sleep(min(timeout_s, POLL_S))
            return
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.poll(timeout_s * 1000)

    def _ended(self) -> bool:
        if self._popen.returncode is not None:
            return True
        try:
            # WNOWAIT keeps the process's number taken while the rest of its group may still run.
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # another thread has waited for the process
            return True
