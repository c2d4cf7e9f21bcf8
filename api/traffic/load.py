"""The queue's load, read at most once a second, and the times that clients are told."""

import asyncio
import math
import time

import anyio.to_thread

from sluice.ledger.answers import QueueLoad
from sluice.ledger.predictions import Ledger
from sluice.prediction import Prediction, Status
from sluice.resources import QueuePosition

_CACHE_TTL_S = 1.0
_MAX_RETRY_AFTER_S = 60
_NEARLY_FULL = 0.8


class QueueLoadCache:
    """Caches the load for one event loop."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._read_at = -float("inf")
        self._load: QueueLoad | None = None
        self._reading: asyncio.Task[QueueLoad] | None = None

    async def load(self) -> QueueLoad:
        """The load, at most a second old. Raises RedisUnavailable."""
        if self._load is not None and time.monotonic() - self._read_at <= _CACHE_TTL_S:
            return self._load
        # One read serves all callers. Else each would take a thread, and while Redis hangs they
        # would wait one after another.
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        return await asyncio.shield(self._reading)

    async def _read(self) -> QueueLoad:
        try:
            self._load = await anyio.to_thread.run_sync(self._ledger.load)
            self._read_at = time.monotonic()
            return self._load
        finally:
            self._reading = None

    async def is_nearly_full(self) -> bool:
        """True if the capacity should be checked before a body is read.

        Raises RedisUnavailable.
        """
        return (await self.load()).fill_ratio > _NEARLY_FULL

    def accepted(self) -> None:
        """Count a prediction that was accepted since the last read."""
        if (load := self._load) and load.live:
            self._load = load._replace(
                live=load.live + 1, fill_ratio=load.fill_ratio * (load.live + 1) / load.live
            )

    async def position(self, prediction: Prediction) -> QueuePosition:
        """The position in the queue; empty where the prediction is not queued.

        Raises RedisUnavailable.
        """
        if prediction.status is not Status.STARTING:
            return QueuePosition()
        ahead = await anyio.to_thread.run_sync(self._ledger.count_ahead, prediction.id)
        if ahead is None:
            return QueuePosition()
        wait_s = (await self.load()).wait_s(ahead)
        return QueuePosition(
            queue_position=ahead + 1, estimated_wait_s=None if wait_s is None else round(wait_s, 3)
        )

    async def retry_after_s(self) -> int:
        """Seconds after which a prediction submitted now may have ended.

        Raises RedisUnavailable.
        """
        load = await self.load()
        return clamp(load.wait_s(load.live))

    async def retry_after_full_s(self) -> int:
        """Seconds after which a twentieth of the backlog may have ended.

        Raises RedisUnavailable.
        """
        load = await self.load()
        return clamp(load.wait_s(load.live // 20))


def clamp(seconds: float | None) -> int:
    """The value of `Retry-After`: whole seconds, from 1 to 60; 1 where `seconds` is None."""
    return min(_MAX_RETRY_AFTER_S, max(1, math.ceil(seconds or 0)))
