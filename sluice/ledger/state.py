"""The numbers of a queue for metrics: waiting predictions, deliveries, dead letters."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import redis

from sluice.ledger.scripts import load, queue_calls
from sluice.redisio.connection import translated
from sluice.redisio.scripts import run
from sluice.settings import QueueSettings

_STATE = load("state")


class ReadyState(NamedTuple):
    """The predictions of one priority that wait only for a worker."""

    waiting: int
    oldest_s: float
    """Seconds since the first of them became ready; 0 where there is none."""


class QueueState(NamedTuple):
    """The numbers of one queue."""

    ready: Mapping[str, ReadyState]
    """By priority."""
    delayed: int
    """How many predictions wait for a retry."""
    alone: int
    """How many predictions must run alone."""
    dead_letters: int
    deliveries_due: int
    """How many deliveries are due or being sent, without those of paused receivers."""
    deliveries_open: int
    """How many deliveries are not settled."""
    deliveries_oldest_s: float
    """Seconds since the first attempt at the oldest of these, or since it was filed."""
    deliveries_dead: int
    """How many deliveries were given up, or stopped by a 410."""
    lost_data: bool
    """True for an hour after Redis lost data."""


class StateReader(Protocol):
    """Reads the state of one queue."""

    def read(self) -> QueueState:
        """Raises RedisUnavailable."""


class RedisState:
    """The state of a queue in Redis. Thread-safe."""

    def __init__(self, client: "redis.Redis", settings: QueueSettings) -> None:
        self._redis = client
        self._call = queue_calls(settings)

    def read(self) -> QueueState:
        with translated():
            priorities, *counts = run(self._redis, self._call(_STATE))
        ready = {
            priority.decode(): ReadyState(waiting, float(oldest_s))
            for priority, waiting, oldest_s in priorities
        }
        delayed, alone, dead, due, is_open, oldest_s, given_up, lost = counts
        return QueueState(
            ready, delayed, alone, dead, due, is_open, float(oldest_s), given_up, bool(lost)
        )
