"""A process that outlives the supervisor, to end what the supervisor started if it is killed. Run as a file; it imports nothing of Sluice.

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
from collections.abc import Collection

GONE_TIMEOUT_S = 3.0


def main(prefix: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        action, pid = line.split()
        (groups.add if action == "+" else groups.discard)(int(pid))
    end = time.monotonic() + GONE_TIMEOUT_S
    while alive(groups) and time.monotonic() < end:
        for group in groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        time.sleep(0.01)
    for name in os.listdir("/dev/shm"):
        if prefix and name.startswith(prefix):
            with contextlib.suppress(OSError):  # somebody else's, by an unlikely name, or gone meanwhile
                os.unlink(os.path.join("/dev/shm", name))


def alive(groups: Collection[int]) -> bool:
    """Whether a process of these groups still runs; one that is dead and waits for its parent to notice does not count."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    # The name in parentheses may hold anything; after it come the state, the parent and the group.
                    state, _, group = file.read().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(group) in groups and state not in "ZX":
                return True
    return False


if __name__ == "__main__":
    main(sys.argv[1])
