"""A process that outlives the supervisor, to end what the supervisor started if that is killed.

It is run as a file, and imports nothing of Sluice.

It reads lines from its standard input, a pipe that the supervisor holds open: `+ PID` for each process group that begins,
which the group's first process writes itself before it becomes the program, so that there is no moment at which it runs
unknown; and `- PID` when it has ended. At the end of the input it kills the groups that are left and removes the shared memory
segments whose names begin with its argument. It holds the state directory's lock meanwhile, as it inherited it.
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
    for segment in Path("/dev/shm").iterdir():  # noqa: S108  the kernel's own name for where they are
        if prefix and segment.name.startswith(prefix):
            with contextlib.suppress(
                OSError
            ):  # somebody else's, by an unlikely name, or gone meanwhile
                segment.unlink()


def end(groups: Collection[int]) -> None:
    """Kill the processes of these groups, and wait until they are gone, but not for ever."""
    until = time.monotonic() + GONE_TIMEOUT_S
    while alive(groups) and time.monotonic() < until:
        for group in groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        time.sleep(0.01)


def alive(groups: Collection[int]) -> bool:
    """Whether a process of these groups still runs; one that is dead and waits for its parent to notice does not count."""
    return any(process.group in groups and process.state not in "ZX" for process in processes())


class Seen(NamedTuple):
    pid: int
    state: str  # Z and X are dead
    parent: int
    group: int
    started: int  # clock ticks since boot; with the number, it tells a process from a later one of the same number


def processes() -> Iterator[Seen]:
    """All processes of this machine, from /proc."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                # The name in parentheses may hold anything.
                fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            if fields:
                yield Seen(
                    int(folder.name), fields[0], int(fields[1]), int(fields[2]), int(fields[19])
                )


if __name__ == "__main__":
    main(sys.argv[1])
