"""Images a second with 1, 2 and 4 worker processes, as far as this machine's cores allow.

One embedded stack after the other, with the same load: the shipped detector, and 32 clients that
each wait for a result. The cores that each part used show what is full.
"""

import os
from statistics import median

from benchmarks.common import stack
from benchmarks.speed import processes
from benchmarks.speed.load import Job, send
from sluice.local.paths import SAMPLES

WORKERS = (1, 2, 4)
CLIENTS, COUNT, ROUNDS = 32, 400, 3


def main() -> None:
    print(f"{len(os.sched_getaffinity(0))} cores; images a second, ratio to one worker, cores used")
    speeds: dict[int, list[float]] = {}
    for _ in range(ROUNDS):
        for workers in WORKERS:
            speed, used = _measure(workers)
            speeds.setdefault(workers, []).append(speed)
            cores = ", ".join(f"{part} {value:.2f}" for part, value in used.items())
            print(f"{workers} workers: {speed:.1f}/s; {cores}", flush=True)
    one = median(speeds[1])
    for workers, values in speeds.items():
        print(
            f"{workers} workers: {median(values):.1f}/s ({min(values):.1f} to {max(values):.1f}),"
            f" ratio {median(values) / one:.2f}",
            flush=True,
        )


def _measure(workers: int) -> tuple[float, dict[str, float]]:
    """Images a second, and the cores that each part used."""
    with stack("redis", "triton", "api", "worker", workers=workers) as running:
        port = int(running.addresses.api.rpartition(":")[2])
        headers = {"Content-Type": "image/jpeg", "Prefer": "wait=55"}
        job = Job(
            port, "/v1/predictions?model=codes", str(SAMPLES / "desk.jpg"), CLIENTS, COUNT, headers
        )
        send(job)
        before = _cpu_s(running.pids)
        seconds = send(job)["seconds"]
        after = _cpu_s(running.pids)
    return COUNT / seconds, {part: (after[part] - before[part]) / seconds for part in after}


def _cpu_s(pids: dict[str, int]) -> dict[str, float]:
    """The processor time of each part, with its child processes; workers count together."""
    parent_of, found = processes.parents(), dict[str, float]()
    for name, pid in pids.items():
        part = name.partition("-")[0]
        if part != "reaper":
            family = processes.descendants(pid, parent_of, set(pids.values()) - {pid})
            found[part] = found.get(part, 0.0) + processes.cpu_s(family)
    return found
