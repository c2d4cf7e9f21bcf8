"""The simulated controllers beside those of a real control plane.

The seconds were recorded on 2026-11-25 with Kubernetes 1.36.2 and KEDA 2.19.0. A row's simulated
times are a range, since nobody knows when the controllers last looked before the load came.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.autoscaling.controllers import Rules, Scaling
from benchmarks.autoscaling.simulation import HPA_SYNC_S, Outcome, Pod, scaled

#: A list that nobody works off.
_IDLE_POD = Pod(rate_per_s=1e-6)
#: The control plane's machine made 300 results in 10.3 s, with any number of pods.
_RECORDED_PER_S = 29.0
_EMPTY_S = 2000 / _RECORDED_PER_S
_PHASES = 15


@dataclass(frozen=True)
class Row:
    """One number of pods that was seen, and when."""

    name: str
    recorded_s: float
    simulated_s: tuple[float, float]


def _outcomes(
    arrivals: list[float], pod: Pod, scaling: Scaling, *, end_s: float, phases: int, pods: int = 0
) -> list[Outcome]:
    """A run for each pair of phases of the two controllers."""
    steps = [number / phases for number in range(phases)]
    return [
        scaled(
            arrivals,
            pod,
            scaling,
            end_s=end_s,
            drain=False,
            pods=pods,
            keda_phase_s=keda * scaling.polling_s,
            hpa_phase_s=hpa * HPA_SYNC_S,
        )
        for keda in steps
        for hpa in steps
    ]


def _rows(
    name: str, outcomes: list[Outcome], seen: dict[int, float], *, from_s: float = 0.0
) -> list[Row]:
    rows = []
    for pods, recorded_s in seen.items():
        times = [outcome.reached(pods, after_s=from_s) - from_s for outcome in outcomes]
        rows.append(Row(f"{name}: {pods}", recorded_s, (min(times), max(times))))
    return rows


def rows(phases: int = _PHASES) -> Iterator[Row]:
    """Every recorded number of pods, with what the simulation says of it."""
    ours = replace(Scaling.from_manifest(), recent_s=0.0)
    up = _outcomes([0.0] * 10_000, _IDLE_POD, ours, end_s=90.0, phases=phases)
    yield from _rows("10,000 waiting", up, {1: 1.6, 5: 16.6, 10: 32.0, 20: 46.9})
    # The record was made with a ScaledObject that says nothing of the HPA's behaviour.
    plain = replace(ours, list_length=5, polling_s=2.0, up=Rules(0.0), down=Rules(300.0))
    up = _outcomes([0.0] * 50, _IDLE_POD, plain, end_s=90.0, phases=phases)
    yield from _rows("50 waiting, 5 a pod", up, {1: 2.9, 4: 15.0, 8: 31.0, 10: 46.0})
    down = {15: 167.0, 11: 227.0, 8: 287.0, 0: 297.0}
    yield from _rows("20 pods, nothing waiting", _emptied(ours, phases), down, from_s=_EMPTY_S)


def _emptied(scaling: Scaling, phases: int) -> list[Outcome]:
    """20 pods that end the last of 2,000 predictions at `_EMPTY_S`."""
    pod = Pod(rate_per_s=_RECORDED_PER_S / 20, start_s=0.0)
    return _outcomes([0.0] * 2000, pod, scaling, end_s=_EMPTY_S + 420.0, pods=20, phases=phases)


def main() -> None:
    """Print the table."""
    print(f"{'pods':<32} {'recorded':>9} {'simulated':>16}")
    for row in rows():
        least, most = row.simulated_s
        print(f"{row.name:<32} {row.recorded_s:>7.1f} s {least:>6.1f} to {most:>5.1f} s")
