"""The timeline: backlog, workers, throughput, latency and failures of each of the last minutes.

Each worker process counts what it ended. The keeper adds the counts to the current minute once a
round. The cost in Redis thus grows with the workers and not with the predictions. Sweeps count what
they end themselves. The counts of a worker's last round are lost if the worker is killed.
Predictions that were canceled are not counted.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Protocol

import redis

from sluice.ledger.scripts import load, queue_calls
from sluice.redisio.connection import translated
from sluice.redisio.scripts import Script, run
from sluice.settings import QueueSettings

_RECORD, _READ = load("timeline/record"), load("timeline/read")

LATENCY_BOUNDS_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0)
"""The upper bounds of the counts of latencies. The last count has no upper bound."""


@dataclass
class Ends:
    """Counts of predictions that ended."""

    succeeded: int = 0
    failed: int = 0
    latencies: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_S) + 1))
    """Of those that succeeded: how many took how long, by `LATENCY_BOUNDS_S`."""

    def add_success(self, latency_s: float) -> None:
        """Count a success, `latency_s` seconds after its submission."""
        self.succeeded += 1
        self.latencies[bisect_left(LATENCY_BOUNDS_S, latency_s)] += 1

    def plus(self, other: "Ends") -> "Ends":
        """The counts of both."""
        latencies = [sum(pair) for pair in zip(self.latencies, other.latencies, strict=True)]
        return Ends(self.succeeded + other.succeeded, self.failed + other.failed, latencies)

    def fields(self) -> dict[str, int]:
        """The counts that are not 0, by their names in the timeline."""
        named = {f"latency_{index}": count for index, count in enumerate(self.latencies)}
        counts = {"succeeded": self.succeeded, "failed": self.failed, **named}
        return {name: count for name, count in counts.items() if count}


@dataclass(frozen=True)
class Minute:
    """One minute. The samples are None for a minute in which no worker and no keeper ran."""

    at: float
    """The start of the minute, in seconds since the epoch, by Redis's clock."""
    backlog: int | None = None
    """The largest sample of queued and running predictions."""
    processing: int | None = None
    """The largest sample of running predictions."""
    workers: int | None = None
    """The worker processes alive at the last sample."""
    succeeded: int = 0
    failed: int = 0
    """Dead letters are among them."""
    aborted: int = 0
    latencies: Sequence[int] = ()
    """The counts of `Ends.latencies`."""

    def latency_s(self, share: float) -> float | None:
        """The time from submission to success that this `share` of the predictions kept.

        Estimated within a bound, as evenly spread. None where no prediction succeeded.
        """
        counts = tuple(self.latencies)
        rank = share * sum(counts)
        if not rank:
            return None
        sums = list(accumulate(counts))
        index = bisect_left(sums, rank)
        low = LATENCY_BOUNDS_S[index - 1] if index else 0.0
        high = LATENCY_BOUNDS_S[min(index, len(LATENCY_BOUNDS_S) - 1)]
        inside = (rank - (sums[index] - counts[index])) / counts[index]
        return low + (high - low) * inside


class Timeline(Protocol):
    """Every implementation passes `tests/contract/test_timeline.py`. Raises RedisUnavailable."""

    def record(self, ends: Ends) -> None:
        """Add `ends` to the current minute, and sample backlog and workers."""

    def read(self, minutes: int) -> list[Minute]:
        """The last minutes, the oldest first; the last one is the current minute."""


class RedisTimeline:
    """The timeline of one queue in Redis 6.2 or later. Thread-safe."""

    def __init__(self, client: "redis.Redis", settings: QueueSettings) -> None:
        self._redis = client
        self._call = queue_calls(settings)

    def record(self, ends: Ends) -> None:
        self._run(_RECORD, *(part for pair in ends.fields().items() for part in pair))

    def read(self, minutes: int) -> list[Minute]:
        return [_minute(at, flat) for at, flat in self._run(_READ, minutes)]

    def _run(self, script: Script, *args: str | float) -> Any:
        with translated():
            return run(self._redis, self._call(script, *args))


def _minute(at: int, flat: Sequence[bytes]) -> Minute:
    names = (name.decode() for name in flat[::2])
    fields = {name: int(value) for name, value in zip(names, flat[1::2], strict=True)}
    return minute_of(float(at), fields)


def minute_of(at: float, fields: Mapping[str, int]) -> Minute:
    """The minute that begins at `at`, of the fields of its hash."""
    return Minute(
        at,
        backlog=fields.get("backlog"),
        processing=fields.get("processing"),
        workers=fields.get("workers"),
        succeeded=fields.get("succeeded", 0),
        failed=fields.get("failed", 0),
        aborted=fields.get("aborted", 0),
        latencies=tuple(
            fields.get(f"latency_{index}", 0) for index in range(len(LATENCY_BOUNDS_S) + 1)
        ),
    )
