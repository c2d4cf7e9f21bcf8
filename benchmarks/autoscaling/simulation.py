"""Workers that take predictions from one queue, under a number of pods that changes.

The simulation is one of discrete events: arrivals, ends of predictions, KEDA's looks, the HPA's
synchronisations, and starts of pods. Predictions run in the order of their submission, and each
takes the same time. Triton is not the limit.
"""

import heapq
import itertools
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.autoscaling.controllers import Hpa, Keda, Scaling

#: The HPA looks so often, unless the cluster's controller manager says otherwise.
HPA_SYNC_S = 15.0


@dataclass(frozen=True)
class Pod:
    """A worker pod's abilities."""

    #: Predictions a second with all slots busy.
    rate_per_s: float
    #: Predictions at a time.
    slots: int = 4
    #: Seconds from the decision for a pod to its first claim.
    start_s: float = 2.0


@dataclass
class Outcome:
    """The result of a run. All times are in seconds."""

    #: From submission to claim, for each prediction in the order of submission.
    waits_s: list[float]
    #: From submission to the end.
    ends_s: list[float]
    #: When the number of pods changed, and to what.
    pods: list[tuple[float, int]]
    end_s: float

    @property
    def pod_hours(self) -> float:
        """Pods, starting ones included, times hours."""
        times = [*(then_s for then_s, _ in self.pods), self.end_s]
        seconds = sum(
            count * (until_s - from_s)
            for (from_s, count), until_s in zip(self.pods, times[1:], strict=True)
        )
        return seconds / 3600

    def wait_at(self, share: float) -> float:
        """The wait that `share` of all predictions do not exceed (nearest rank)."""
        ordered = sorted(self.waits_s)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    def reached(self, pods: int, *, after_s: float = 0.0) -> float:
        """When the number of pods was first `pods`, after a time; infinite for never."""
        return next((t for t, count in self.pods if count == pods and t >= after_s), math.inf)


@dataclass
class _Run:
    arrivals: Sequence[float]
    pod: Pod
    waits_s: list[float] = field(default_factory=list)
    ends_s: list[float] = field(default_factory=list)
    #: A heap of when each slot is free, and the slot's pod.
    slots: list[tuple[float, int]] = field(default_factory=list)
    #: Times of ends, in order: a constant time and a FIFO make them so.
    ended: list[float] = field(default_factory=list)
    stopped: set[int] = field(default_factory=set)
    pods: list[int] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    started: int = 0

    def claim_until(self, until_s: float) -> None:
        """Start each prediction that finds a slot before `until_s`."""
        takes_s = self.pod.slots / self.pod.rate_per_s
        while self.started < len(self.arrivals) and self.slots:
            free_s, number = self.slots[0]
            if number in self.stopped:
                heapq.heappop(self.slots)
                continue
            arrived_s = self.arrivals[self.started]
            start_s = max(arrived_s, free_s)
            if start_s >= until_s:
                return
            heapq.heapreplace(self.slots, (start_s + takes_s, number))
            self.waits_s.append(start_s - arrived_s)
            self.ends_s.append(start_s + takes_s - arrived_s)
            self.ended.append(start_s + takes_s)
            self.started += 1

    def live(self, now_s: float) -> int:
        """Predictions that are queued or running."""
        return bisect_right(self.arrivals, now_s) - bisect_right(self.ended, now_s)

    def recent(self, now_s: float, within_s: float) -> int:
        submitted = bisect_right(self.arrivals, now_s)
        return int(submitted > 0 and self.arrivals[submitted - 1] > now_s - within_s)

    def scale(self, now_s: float, count: int) -> None:
        """Start pods, or stop the newest. A stopped pod claims nothing and ends what it runs."""
        while len(self.pods) > count:
            self.stopped.add(self.pods.pop())
        while len(self.pods) < count:
            number = next(self.numbers)
            self.pods.append(number)
            for _ in range(self.pod.slots):
                heapq.heappush(self.slots, (now_s + self.pod.start_s, number))


def fixed(arrivals: Sequence[float], pod: Pod, count: int, *, end_s: float) -> Outcome:
    """Run with a number of pods that does not change, all ready from the start."""
    run = _Run(arrivals, pod)
    run.scale(-pod.start_s, count)
    run.claim_until(math.inf)
    return Outcome(run.waits_s, run.ends_s, [(0.0, count)], end_s)


def scaled(
    arrivals: Sequence[float],
    pod: Pod,
    scaling: Scaling,
    *,
    end_s: float,
    drain: bool = True,
    keda_phase_s: float = 0.0,
    hpa_phase_s: float = 0.0,
    pods: int = 0,
) -> Outcome:
    """Run with KEDA and the HPA until `end_s`, with `drain` until every prediction has ended.

    `arrivals` are seconds, in order. The phases say when each controller looks first.
    """
    run, keda, hpa = _Run(arrivals, pod), Keda(scaling), Hpa(scaling)
    count = max(scaling.min_pods, pods)
    run.scale(-pod.start_s, count)
    history = [(0.0, count)]
    looks = [(keda_phase_s, "keda"), (hpa_phase_s, "hpa")]
    heapq.heapify(looks)
    while True:
        now_s, who = looks[0]
        run.claim_until(now_s)
        live, recent = run.live(now_s), run.recent(now_s, scaling.recent_s)
        if now_s >= end_s and (not drain or (run.started == len(arrivals) and live == 0)):
            return Outcome(run.waits_s, run.ends_s, history, now_s)
        if who == "keda":
            wish = keda.decide(now_s, count, live > 0 or recent > 0)
            heapq.heapreplace(looks, (now_s + scaling.polling_s, who))
        else:
            wish = hpa.decide(now_s, count, live, recent)
            heapq.heapreplace(looks, (now_s + HPA_SYNC_S, who))
        if wish != count:
            count = wish
            run.scale(now_s, count)
            history.append((now_s, count))
