"""Looking at records on behalf of those who wait for them, of whom there may be thousands."""

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from sluice.errors import RedisUnavailable

_AT_ONCE = 16
Found = TypeVar("Found")


class Looks:
    """So many at a time, on threads that nothing else is kept from. While Redis hangs each takes its whole time-out, so those who
    were in line when one failed fail with it, and do not wait for their own.
    """

    def __init__(self) -> None:
        self._slots = anyio.CapacityLimiter(_AT_ONCE)
        self._threads = anyio.CapacityLimiter(_AT_ONCE)  # who has a slot finds one free
        self._failures = 0
        self._why = ""

    async def look(self, get: Callable[[str, str], Found], followed_id: str, key: str) -> Found:
        """What `get` finds. Raises what it raises, RedisUnavailable among it."""
        failures = self._failures
        async with self._slots:
            if self._failures != failures:
                raise RedisUnavailable(self._why)
            try:
                return await anyio.to_thread.run_sync(get, followed_id, key, limiter=self._threads)
            except RedisUnavailable as error:
                self._failures += 1
                self._why = error.message
                raise
