"""Reading Redis for a scrape. A Redis that is unavailable makes no error, but a metric."""

import threading
import time
from collections.abc import Mapping

import redis

from sluice.errors import RedisUnavailable
from sluice.ledger.predictions import Ledger
from sluice.ledger.state import StateReader
from sluice.metrics.queue import Snapshot
from sluice.redisio.memory import read_memory

_CACHE_TTL_S = 1.0  # a scrape costs Redis three calls, and anybody may read the api's metrics


class Observer:
    """Reads what `QueueMetrics` shows, at most once a second. Blocks; thread-safe.

    `servers` has a client for the `ledger`, and one for the `blobs` where these have a Redis.
    """

    def __init__(
        self, ledger: Ledger, state: StateReader, servers: Mapping[str, "redis.Redis"]
    ) -> None:
        self._ledger = ledger
        self._state = state
        self._servers = servers
        self._lock = threading.Lock()
        self._read_at = -float("inf")
        self._snapshot = Snapshot()

    def read(self) -> Snapshot:
        """Return what is known, at most a second old."""
        with self._lock:  # one caller asks, and the others take its answer
            if time.monotonic() - self._read_at > _CACHE_TTL_S:
                self._snapshot = self._look()
                self._read_at = time.monotonic()
            return self._snapshot

    def _look(self) -> Snapshot:
        memory, answers = {}, {}
        for store, client in self._servers.items():
            answers[store] = True
            try:
                memory[store] = read_memory(client)
            except redis.exceptions.NoPermissionError:  # `redisio/health.py` warns of it
                pass
            except redis.exceptions.RedisError:
                answers[store] = False
        if not answers.get("ledger", True):  # else each call would wait for its time-out
            return Snapshot(answers=answers, memory=memory)
        try:
            return Snapshot(self._ledger.load(), self._state.read(), answers, memory)
        except RedisUnavailable:
            return Snapshot(answers=answers, memory=memory)
