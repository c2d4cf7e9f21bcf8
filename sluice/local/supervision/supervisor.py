"""The supervisor: starts processes, restarts those that die, and leaves none behind."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from pathlib import Path

from sluice.errors import LocalStackError
from sluice.local.supervision import reaper
from sluice.local.supervision.process import Process, Spec

POLL_S = 0.05
WATCH_S = 1.0
STOP_TIMEOUT_S = 4.5
GIVE_UP_AFTER = 3  # deaths of a process that was never ready
LONGEST_BACKOFF_S = 10.0
STEADY_S = 30.0  # after a run of this length, the count of deaths begins again


class Kind(StrEnum):
    """The kinds of event."""

    STARTED = "started"
    READY = "ready"
    DIED = "died"
    NOTE = "note"


@dataclass(frozen=True)
class SupervisorEvent:
    """An event to show to the user."""

    kind: Kind
    """The kind of event."""

    name: str
    """The process's name, or `stack`."""

    text: str
    """A message for people. For DIED, with the end of the log."""

    pid: int | None = None
    """The process id, for STARTED and READY."""


class Supervisor:
    """Runs one thread for each process.

    `logs` is the folder for the log files. `tell` is called with each event, from those threads.
    `shm_prefix` is the prefix of the processes' shared memory segments; the reaper removes those.
    The descriptors of `keep_open` stay open in the reaper until the last process has ended. A kill
    of this process does not change that.
    """

    def __init__(
        self,
        logs: Path,
        tell: Callable[[SupervisorEvent], None],
        *,
        shm_prefix: str = "",
        keep_open: Sequence[int] = (),
    ) -> None:
        self._logs = logs
        self._tell = tell
        self._shm_prefix = shm_prefix
        self._keep_open = tuple(keep_open)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._processes: dict[str, Process] = {}
        self._ready: set[str] = set()
        self._threads: list[threading.Thread] = []
        self._specs: list[Spec] = []
        self._failure: LocalStackError | None = None
        self._reaper: subprocess.Popen[bytes] | None = None
        self._reaper_fd = -1

    @property
    def pids(self) -> dict[str, int]:
        """The process ids by name. A process that died and was not yet restarted is absent."""
        with self._lock:
            pids = {name: process.pid for name, process in self._processes.items()}
        return pids | ({"reaper": self._reaper.pid} if self._reaper else {})

    def start(self, specs: Sequence[Spec]) -> None:
        """Start all processes, side by side. To be called once."""
        self._specs = list(specs)
        self._start_reaper()
        for spec in specs:
            thread = threading.Thread(
                target=self._supervise, args=(spec,), name=f"supervise {spec.name}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def is_ready(self) -> bool:
        """True when all processes are ready. Raises LocalStackError when one can't be started."""
        self.check()
        with self._lock:
            return self._ready >= {spec.name for spec in self._specs}

    def check(self) -> None:
        """Raises LocalStackError when a process can't be started, or the reaper has ended."""
        if self._failure is not None:
            raise self._failure
        if self._reaper is not None and self._reaper.poll() is not None:
            raise LocalStackError(
                "the reaper process was killed; without it, a crash could leave processes behind"
            )

    def stop(self) -> None:
        """Stop all processes within STOP_TIMEOUT_S, the highest tier first.

        A process that ignores its signal is killed.
        """
        self._stopping.set()
        end = time.monotonic() + STOP_TIMEOUT_S
        with self._lock:
            # `_start` checks `_stopping` and starts under this lock. No process is missed here.
            running = sorted(self._processes.values(), key=lambda process: -process.spec.tier)
        for _, group in groupby(running, key=lambda process: process.spec.tier):
            tier = list(group)
            for process in tier:
                process.signal(process.spec.stop_signal)
            graces_end = time.monotonic() + max(process.spec.grace_s for process in tier)
            for process in tier:
                process.wait(min(graces_end, end) - time.monotonic())
                process.finish()
        for thread in self._threads:
            thread.join(timeout=max(end - time.monotonic(), 1.0))
        for spec in self._specs:
            spec.clean()
        self._stop_reaper()

    def _supervise(self, spec: Spec) -> None:
        try:
            self._run(spec)
        except Exception as error:  # otherwise the process would run on without a supervisor
            self._failure = LocalStackError(f"the supervision of {spec.name} failed: {error!r}")

    def _run(self, spec: Spec) -> None:
        deaths = 0
        was_ready = False
        while not self._stopping.is_set():
            started = time.monotonic()
            process = self._start(spec)
            if process is None:
                return
            trouble = f"was not ready after {spec.ready_timeout_s:.0f} s"
            if self._wait_ready(process):
                was_ready = True
                trouble = self._watch(process)
            if self._stopping.is_set():
                return  # `stop` ends the process
            if process.wait(0):
                trouble = ""
            status = process.finish()
            with self._lock:
                self._ready.discard(spec.name)
                self._processes.pop(spec.name, None)
            deaths = 1 if time.monotonic() - started > STEADY_S and was_ready else deaths + 1
            head = f"{spec.name} {trouble or _exit_reason(status)}; the end of {process.log}:"
            text = "\n  ".join([head, *process.last_lines()])
            if not was_ready and (trouble or deaths >= GIVE_UP_AFTER):
                self._failure = LocalStackError(text)
                return
            self._tell(SupervisorEvent(Kind.DIED, spec.name, text))
            self._stopping.wait(min(0.2 * 2 ** (deaths - 1), LONGEST_BACKOFF_S))

    def _start(self, spec: Spec) -> Process | None:
        try:
            spec.clean()
            with self._lock:
                if self._stopping.is_set():
                    return None
                process = Process(spec, self._logs / f"{spec.name}.log", self._reaper_fd)
                self._processes[spec.name] = process
        except OSError as error:
            self._failure = LocalStackError(f"{spec.name} can't be started: {error}")
            return None
        self._tell(SupervisorEvent(Kind.STARTED, spec.name, f"starting {spec.name}", process.pid))
        return process

    def _wait_ready(self, process: Process) -> bool:
        spec = process.spec
        started = time.monotonic()
        while time.monotonic() - started < spec.ready_timeout_s and not self._stopping.is_set():
            if process.wait(POLL_S):
                return False
            if spec.is_ready():
                with self._lock:
                    self._ready.add(spec.name)
                took = time.monotonic() - started
                self._tell(
                    SupervisorEvent(
                        Kind.READY,
                        spec.name,
                        f"{spec.name} is ready after {took:.1f} s",
                        process.pid,
                    )
                )
                return True
        return False

    def _watch(self, process: Process) -> str:
        """Wait for the end of the process, or for the same trouble twice in a row.

        Returns the trouble, or an empty string for the end.
        """
        before = None
        while not process.wait(WATCH_S):
            trouble = None if self._stopping.is_set() else process.spec.trouble(process.pid)
            if trouble and trouble == before:
                return trouble
            before = trouble
        return ""

    def _start_reaper(self) -> None:
        read, self._reaper_fd = os.pipe()
        with contextlib.closing(os.fdopen(read, "rb")) as pipe:
            self._reaper = subprocess.Popen(
                [sys.executable, "-I", "-S", reaper.__file__, self._shm_prefix],
                stdin=pipe,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=self._keep_open,
            )

    def _stop_reaper(self) -> None:
        if self._reaper is None:
            return
        os.close(self._reaper_fd)
        try:
            self._reaper.wait(timeout=reaper.GONE_TIMEOUT_S + 1)
        except subprocess.TimeoutExpired:
            self._reaper.kill()
            self._reaper.wait()
        self._reaper = None


def _exit_reason(status: int) -> str:
    return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
