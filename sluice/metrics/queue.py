"""The metrics of the queue and of Redis's memory, which the api exposes for all processes."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from sluice.ledger.answers import QueueLoad
from sluice.ledger.state import QueueState
from sluice.metrics.recorder import Recorder, Values
from sluice.redisio.memory import Memory


class Snapshot(NamedTuple):
    """The numbers of one scrape."""

    load: QueueLoad | None = None
    """None while Redis is unavailable."""
    state: QueueState | None = None
    answers: Mapping[str, bool] = {}
    """Says of the Redis of the `ledger` and of the `blobs` whether it answers."""
    memory: Mapping[str, Memory] = {}
    """By `ledger` and `blobs`. A Redis that refuses INFO is not there."""


class QueueMetrics:
    """Shows `snapshot`, which the owner sets before each scrape."""

    def __init__(self, recorder: Recorder) -> None:
        self.snapshot = Snapshot()
        self._recorder = recorder
        self._add_load()
        self._add_ready()
        self._add_state()
        self._add_memory()

    def _load(self, name: str, text: str, read: Callable[[QueueLoad], float]) -> None:
        def values() -> Values:
            load = self.snapshot.load
            return [] if load is None else [((), read(load))]

        self._recorder.read("gauge", f"sluice_queue_{name}", text, values=values)

    def _state(self, name: str, text: str, read: Callable[[QueueState], float]) -> None:
        def values() -> Values:
            state = self.snapshot.state
            return [] if state is None else [((), read(state))]

        self._recorder.read("gauge", f"sluice_{name}", text, values=values)

    def _add_load(self) -> None:
        self._load("backlog", "Predictions that are queued or running.", lambda load: load.live)
        self._load("running", "Predictions that are running.", lambda load: load.running)
        self._load(
            "workers", "Worker processes with a recent heartbeat.", lambda load: load.workers
        )
        self._load(
            "troubled_workers",
            "Worker processes that lack Triton or the images' store.",
            lambda load: load.troubled,
        )
        self._load(
            "oldest_seconds",
            "Seconds since the oldest of the backlog was submitted.",
            lambda load: load.oldest_s,
        )
        self._load(
            "ended_per_second",
            "Predictions that ended while others waited,"
            " in the best ten seconds of the last minute.",
            lambda load: load.drain_rate_per_s,
        )
        self._load(
            "fill_ratio",
            "Used share of the nearest bound, 0 to 1. At 1 the api refuses submissions.",
            lambda load: load.fill_ratio,
        )

    def _add_ready(self) -> None:
        def counts() -> Values:
            state = self.snapshot.state
            return (
                [((name,), ready.waiting) for name, ready in state.ready.items()] if state else []
            )

        def ages() -> Values:
            state = self.snapshot.state
            return (
                [((name,), ready.oldest_s) for name, ready in state.ready.items()] if state else []
            )

        self._recorder.read(
            "gauge",
            "sluice_queue_ready",
            "Predictions that wait only for a worker.",
            "priority",
            values=counts,
        )
        self._recorder.read(
            "gauge",
            "sluice_queue_ready_oldest_seconds",
            "Seconds since the first of these became ready.",
            "priority",
            values=ages,
        )

    def _add_state(self) -> None:
        self._state("queue_delayed", "Predictions that wait for a retry.", lambda s: s.delayed)
        self._state("queue_alone", "Predictions that must run alone.", lambda s: s.alone)
        self._state("queue_dead_letters", "Dead letters that are kept.", lambda s: s.dead_letters)
        self._state(
            "deliveries_due",
            "Deliveries that are due or being sent, without those of paused receivers.",
            lambda s: s.deliveries_due,
        )
        self._state("deliveries_open", "Deliveries not settled.", lambda s: s.deliveries_open)
        self._state(
            "deliveries_oldest_seconds",
            "Seconds since the first attempt at the oldest of these, or since it was filed.",
            lambda s: s.deliveries_oldest_s,
        )
        self._state(
            "deliveries_set_aside",
            "Deliveries that are kept after they were given up, or stopped by a 410.",
            lambda s: s.deliveries_dead,
        )
        self._state(
            "redis_lost_data", "1 for an hour after Redis lost data.", lambda s: s.lost_data
        )

    def _add_memory(self) -> None:
        def read(pick: Callable[[Memory], float]) -> Callable[[], Values]:
            def values() -> Values:
                memory = self.snapshot.memory
                return [((store,), pick(found)) for store, found in memory.items()]

            return values

        self._recorder.read(
            "gauge",
            "sluice_redis_used_memory_bytes",
            "Memory that the Redis of the ledger or of the blobs uses.",
            "store",
            values=read(lambda memory: memory.used_bytes),
        )
        self._recorder.read(
            "gauge",
            "sluice_redis_max_memory_bytes",
            "The maxmemory of that Redis; 0 without a bound.",
            "store",
            values=read(lambda memory: memory.max_bytes),
        )
        self._recorder.read(
            "gauge",
            "sluice_redis_up",
            "1 if that Redis answers.",
            "store",
            values=lambda: [((store,), up) for store, up in self.snapshot.answers.items()],
        )
