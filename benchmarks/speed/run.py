"""Runs the rounds: each service in turn, with the bare loop before and after it."""

import os
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.speed import measure, models
from benchmarks.speed.measure import Rounds, Sample
from benchmarks.speed.models import Files
from benchmarks.speed.service import running
from sluice.local.paths import CHECKOUT

#: The groups of rows, by the service that they are measured on.
ALONE = ("idle", "memory", "ort", "codes", "one", "burst")
TOGETHER = ("queued", "ort-plain", "ov", "ov-plain", "nothing")
GROUPS = ALONE + TOGETHER
_Folders = Mapping[str, Path]


@dataclass
class Plan:
    """The choices of one run."""

    checkouts: Mapping[str, Path] = field(default_factory=lambda: {"this": CHECKOUT})
    """The services by the names of their columns."""
    rounds: int = 3
    rows: Collection[str] = GROUPS
    model: Path | None = None
    """An ONNX file instead of the detector with random weights."""


def run(plan: Plan) -> dict[str, list[tuple[Sample, Sample]]]:
    """The samples of each round by service: the service's own, and the bare loop's."""
    found: dict[str, list[tuple[Sample, Sample]]] = {name: [] for name in plan.checkouts}
    with tempfile.TemporaryDirectory(prefix="sluice-speed-") as folder:
        files = Files.write(Path(folder), plan.model)
        repositories = {
            name: _repositories(checkout, files, Path(folder) / f"{number}", plan.rows)
            for number, (name, checkout) in enumerate(plan.checkouts.items())
        }
        for number in range(plan.rounds):
            tell(f"round {number + 1} of {plan.rounds}: the bare loop")
            before = measure.bare_loops(files)
            order = list(plan.checkouts)
            for name in order if number % 2 == 0 else reversed(order):
                tell(f"round {number + 1} of {plan.rounds}: {name}")
                sample = _service(plan, plan.checkouts[name], repositories[name], files)
                # A machine's speed changes in a minute. The loop on both sides evens that out.
                after = measure.bare_loops(files)
                found[name].append((sample, mean(before, after)))
                before = after
    return found


def mean(one: Sample, other: Sample) -> Sample:
    """The mean of each number of two samples."""
    return {key: (one[key] + other[key]) / 2 for key in one}


def tell(text: str) -> None:
    """A line on stderr, with the clock and the load of the machine."""
    now, load = time.strftime("%H:%M:%S"), os.getloadavg()[0]
    print(f"{now} {text} (load of the machine {load:.1f})", file=sys.stderr, flush=True)


def _repositories(checkout: Path, files: Files, folder: Path, rows: Collection[str]) -> _Folders:
    """The model repositories of the services that the rows need."""
    wanted = {"alone": (ALONE, models.ALONE), "together": (TOGETHER, models.TOGETHER)}
    return {
        name: models.repository(checkout, files, folder / name, kinds)
        for name, (groups, kinds) in wanted.items()
        if set(groups) & set(rows)
    }


def _service(plan: Plan, checkout: Path, folders: _Folders, files: Files) -> Sample:
    sample: Sample = {}
    for name, folder in folders.items():
        with running(checkout, folder) as service:
            rounds = Rounds(service, files, plan.rows)
            sample |= rounds.alone() if name == "alone" else rounds.together()
    return sample
