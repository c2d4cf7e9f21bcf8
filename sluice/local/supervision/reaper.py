"""The reaper: a process that outlives a killed supervisor, and ends all that it started.

The reaper is run as a file, and imports nothing of Sluice.

Standard input is a pipe that the supervisor holds open. Two kinds of line come through it:

    + PID    a process group begins; the group's first process writes the line
    - PID    a process group has ended

At the end of the input the reaper kills the groups that are left. Then the reaper removes the
shared memory segments whose names begin with its argument. Until its own end the reaper holds the
state directory's lock, which is inherited from the supervisor.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

GONE_TIMEOUT_S = 3.0


def main(prefix: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        action, pid = line.split()
        (groups.add if action == "+" else groups.discard)(int(pid))
    end(groups)
    for segment in Path("/dev/shm").iterdir():  # noqa: S108  the kernel's name for the folder
        if prefix and segment.name.startswith(prefix):
            with contextlib.suppress(OSError):  # another user's segment, or gone meanwhile
                segment.unlink()


def end(groups: Collection[int]) -> None:
    """Kill the processes of these groups. Wait up to GONE_TIMEOUT_S until none is left."""
    until = time.monotonic() + GONE_TIMEOUT_S
    while alive(groups) and time.monotonic() < until:
        for group in groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        time.sleep(0.01)


def alive(groups: Collection[int]) -> bool:
    """True while a process of these groups runs. A zombie does not count."""
    return any(process.group in groups and not process.is_dead for process in processes())


class ProcessInfo(NamedTuple):
    """One process, from /proc."""

    pid: int
    """The process id."""

    state: str
    """The kernel's letter: R, S, Z …"""

    parent: int
    """The parent's process id."""

    group: int
    """The process group's id."""

    started: int
    """Clock ticks from the boot to the start. With `pid`, unique until the next boot."""

    @property
    def is_dead(self) -> bool:
        return self.state in "ZX"


def processes() -> Iterator[ProcessInfo]:
    """All processes of this machine, from /proc."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (process := _read(int(folder.name))):
            yield process


def children(pid: int) -> Iterator[ProcessInfo]:
    """The children of a process.

    The kernel lists the children of each thread. A look at every process costs far more, and
    serves only where the kernel was built without these lists.
    """
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - Triton has many threads
        lists = [_bytes(f"/proc/{pid}/task/{thread}/children") for thread in threads]
    except OSError:
        yield from (process for process in processes() if process.parent == pid)
        return
    for child in b" ".join(lists).split():
        if process := _read(int(child)):
            yield process


def _bytes(path: str) -> bytes:
    """A small file, for less than half of what a `Path` would cost."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 65_536)
    finally:
        os.close(file)


def _read(pid: int) -> ProcessInfo | None:
    """None once the process is gone."""
    try:
        # The name in parentheses may hold any character.
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    if not stat:
        return None
    return ProcessInfo(pid, stat[0], int(stat[1]), int(stat[2]), int(stat[19]))


if __name__ == "__main__":
    main(sys.argv[1])
