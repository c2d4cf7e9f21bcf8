"""How fast the queue moves, asked at most once a second, and what clients are told of it."""

import asyncio
import math
import time

import anyio.to_thread

from sluice.ledger.predictions import Ledger, QueueLoad
from sluice.prediction import Prediction, Status
from sluice.resources import QueuePosition

_CACHE_TTL_S = 1.0
_LONGEST_S = 60
_NEARLY = 0.8


class QueueLoadCache:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._asked_at = -float("inf")
        self._load: QueueLoad | None = None
        self._asking: asyncio.Task[QueueLoad] | None = None

    async def load(self) -> QueueLoad:
        """Raises RedisUnavailable."""
        if self._load is not None and time.monotonic() - self._asked_at <= _CACHE_TTL_S:
            return self._load
        # Once for all who ask meanwhile: each would take a thread, and where Redis hangs they would wait one after another.
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> QueueLoad:
        try:
            self._load = await anyio.to_thread.run_sync(self._ledger.load)
            self._asked_at = time.monotonic()
            return self._load
        finally:
            self._asking = None

    async def is_nearly_full(self) -> bool:
        """Whether it is worth asking if there is room before a body is read. Raises RedisUnavailable."""
        return (await self.load()).fill_ratio > _NEARLY

    def accepted(self) -> None:
        """One more; what is believed of the load stays right between two looks at it."""
        if (load := self._load) and load.live:
            self._load = load._replace(
                live=load.live + 1, fill_ratio=load.fill_ratio * (load.live + 1) / load.live
            )

    async def position(self, prediction: Prediction) -> QueuePosition:
        """How long it waits; nothing where it does not. Raises RedisUnavailable."""
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
        """Seconds after which one that was submitted just now may have ended. Raises RedisUnavailable."""
        load = await self.load()
        return clamp(load.wait_s(load.live))

    async def retry_after_full_s(self) -> int:
        """Seconds after which a twentieth of the backlog may have ended. Raises RedisUnavailable."""
        load = await self.load()
        return clamp(load.wait_s(load.live // 20))


def clamp(seconds: float | None) -> int:
    """As `Retry-After` has it: whole seconds, from 1 to a minute; 1 where nothing is known."""
    return min(_LONGEST_S, max(1, math.ceil(seconds or 0)))
