"""A bursty day under many settings of KEDA, and under fixed numbers of pods.

python -m benchmarks autoscaling
"""

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.autoscaling import recorded
from benchmarks.autoscaling.controllers import Scaling
from benchmarks.autoscaling.simulation import Outcome, Pod, fixed, scaled

_HOUR_S = 3600.0
_DAY_S = 24 * _HOUR_S
#: A detector of 50 ms an image, on nodes that hold the container's image.
POD = Pod(rate_per_s=20.0, slots=4, start_s=10.0)
#: The bar that the chosen settings must meet: seconds that 95 % of the predictions do not exceed.
WAIT_P95_S = 10.0
_KNOBS = {
    # The load that asks for one pod, in seconds of a pod's work.
    "work_s": (2 / 3, 2.0, 6.0, 20.0),
    "polling_s": (2.0, 5.0, 30.0),
    "cooldown_s": (60.0, 300.0, 900.0),
    "min_pods": (0, 1, 2, 4),
}
_FIXED = (1, 2, 4, 8)


def bursty_day(seed: int = 11) -> list[float]:
    """Seconds of about 130,000 submissions of one day, in order.

    One comes each two minutes at night, and 3 a second from 8 to 18 h. 8,000 come at 9 h within a
    minute. Each hour of work has a folder of 500 to 2,000 images, within ten seconds.
    """
    draw = random.Random(seed)
    times = [*_poisson(draw, 0.0, _DAY_S, 1 / 120)]
    times += _poisson(draw, 8 * _HOUR_S, 18 * _HOUR_S, 3.0)
    times += [9 * _HOUR_S + draw.uniform(0, 60) for _ in range(8000)]
    for hour in range(8, 18):
        start_s = (hour + draw.random()) * _HOUR_S
        times += [start_s + draw.uniform(0, 10) for _ in range(draw.randint(500, 2000))]
    return sorted(times)


def _poisson(
    draw: random.Random, from_s: float, until_s: float, rate_per_s: float
) -> Iterator[float]:
    at_s = from_s
    while (at_s := at_s + draw.expovariate(rate_per_s)) < until_s:
        yield at_s


@dataclass(frozen=True)
class Row:
    """One setting's outcome."""

    name: str
    outcome: Outcome

    def text(self) -> str:
        waits = [self.outcome.wait_at(share) for share in (0.5, 0.95, 0.99, 1.0)]
        most = max(count for _, count in self.outcome.pods)
        times = " ".join(f"{wait:>7.1f}" for wait in waits)
        return f"{self.name:<50} {times} {self.outcome.pod_hours:>9.1f} {most:>5}"


def scaling_of(pod: Pod, work_s: float, **changes: float) -> Scaling:
    """The manifest's numbers with a `listLength` of `work_s` seconds of a pod's work."""
    length = math.ceil(work_s * pod.rate_per_s)
    return replace(Scaling.from_manifest(), list_length=length, **changes)


def one_at_a_time(pod: Pod) -> dict[str, Scaling]:
    """The manifest's settings, and each knob alone at its other values."""
    manifest = scaling_of(pod, _KNOBS["work_s"][0])
    found = {_name(manifest): manifest}
    for knob, values in _KNOBS.items():
        for value in values:
            scaling = scaling_of(pod, **{"work_s": _KNOBS["work_s"][0], knob: value})
            found[_name(scaling)] = scaling
    return found


def every_one(pod: Pod) -> dict[str, Scaling]:
    """Every combination of the knobs' values."""
    combinations = (
        scaling_of(pod, **dict(zip(_KNOBS, values, strict=True)))
        for values in itertools.product(*_KNOBS.values())
    )
    return {_name(scaling): scaling for scaling in combinations}


def _name(scaling: Scaling) -> str:
    return (
        f"listLength {scaling.list_length:>3}, polling {scaling.polling_s:>2.0f},"
        f" cooldown {scaling.cooldown_s:>3.0f}, min {scaling.min_pods}"
    )


def chosen(rows: list[Row]) -> Row:
    """The fewest pod hours of all rows that meet the bar; else the shortest wait."""
    good = [row for row in rows if row.outcome.wait_at(0.95) <= WAIT_P95_S]
    if not good:
        return min(rows, key=lambda row: row.outcome.wait_at(0.95))
    return min(good, key=lambda row: row.outcome.pod_hours)


def main() -> None:
    """Print the recorded seconds beside the simulated ones, then the day."""
    recorded.main()
    day = bursty_day()
    print(
        f"\nA day of {len(day)} predictions. A pod makes {POD.rate_per_s:.0f} a second, and starts"
    )
    print(f"in {POD.start_s:.0f} s. Times are from submission to claim.\n")
    columns = " ".join(f"{name:>7}" for name in ("p50 s", "p95 s", "p99 s", "max s"))
    print(f"{'':<50} {columns} {'pod hours':>9} {'most':>5}")
    for count in _FIXED:
        print(Row(f"fixed, {count} pods", fixed(day, POD, count, end_s=_DAY_S)).text())
    for name, scaling in one_at_a_time(POD).items():
        print(Row(name, scaled(day, POD, scaling, end_s=_DAY_S)).text(), flush=True)
    rows = [
        Row(name, scaled(day, POD, scaling, end_s=_DAY_S))
        for name, scaling in every_one(POD).items()
    ]
    print(
        f"\nOf {len(rows)} settings, p95 of at most {WAIT_P95_S:.0f} s with the fewest pod hours:"
    )
    print(chosen(rows).text())
