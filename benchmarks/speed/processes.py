"""Processor time and memory of a tree of processes, from /proc."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from sluice.local.supervision import reaper

_TICKS = os.sysconf("SC_CLK_TCK")


def parents() -> dict[int, int]:
    """The parent of each process of this machine."""
    return {process.pid: process.parent for process in reaper.processes()}


def descendants(root: int, parent_of: Mapping[int, int], stop: Iterable[int] = ()) -> set[int]:
    """`root` and all below, without the processes in `stop` and all below those."""
    children: dict[int, list[int]] = {}
    for pid, parent in parent_of.items():
        children.setdefault(parent, []).append(pid)
    left, found, stop = [root], set(), set(stop)
    while left:
        pid = left.pop()
        found.add(pid)
        left += [child for child in children.get(pid, ()) if child not in stop]
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """The processor time in seconds of all threads of these processes, those that still run."""
    total = 0.0
    for pid in pids:
        with suppress(OSError):
            # The name in parentheses may hold any character.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / _TICKS
    return total


def pss_mb(pids: Iterable[int]) -> float:
    """The proportional set size of these processes in MB: a shared page counts in parts."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            total += pss_bytes(Path(f"/proc/{pid}/smaps_rollup").read_text())
    return total / 1e6


def pss_bytes(smaps: str) -> int:
    """The PSS that a `smaps` or `smaps_rollup` names, over all its mappings."""
    lines = (line.split() for line in smaps.splitlines() if line.startswith("Pss:"))
    return sum(int(fields[1]) * 1024 for fields in lines)
