"""Runs the rounds: the bare loop, then each service in turn."""

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
            name: _repositories(checkout, files, Path(folder) / f"{number}")
            for number, (name, checkout) in enumerate(plan.checkouts.items())
        }
        for number in range(plan.rounds):
            tell(f"round {number + 1} of {plan.rounds}: the bare loop")
            bare = measure.bare_loops(files)
            order = list(plan.checkouts)
            for name in order if number % 2 == 0 else reversed(order):
                tell(f"round {number + 1} of {plan.rounds}: {name}")
                sample = _service(plan, plan.checkouts[name], repositories[name], files)
                found[name].append((sample, bare))
    return found


def tell(text: str) -> None:
    """A line on stderr, with the clock and the load of the machine."""
    now, load = time.strftime("%H:%M:%S"), os.getloadavg()[0]
    print(f"{now} {text} (load of the machine {load:.1f})", file=sys.stderr, flush=True)


def _repositories(checkout: Path, files: Files, folder: Path) -> tuple[Path, Path]:
    alone = models.repository(checkout, files, folder / "alone", models.ALONE)
    return alone, models.repository(checkout, files, folder / "together", models.TOGETHER)


def _service(plan: Plan, checkout: Path, repositories: tuple[Path, Path], files: Files) -> Sample:
    sample: Sample = {}
    alone, together = repositories
    if set(ALONE) & set(plan.rows):
        with running(checkout, alone) as service:
            sample |= Rounds(service, files, plan.rows).alone()
    if set(TOGETHER) & set(plan.rows):
        with running(checkout, together) as service:
            sample |= Rounds(service, files, plan.rows).together()
    return sample
