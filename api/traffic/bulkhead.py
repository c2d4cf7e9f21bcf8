"""Calls that block, on threads of their own, where a store that hangs must not hold everybody up."""

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from sluice.errors import BlobsUnavailable, RedisUnavailable

Found = TypeVar("Found")


class Bulkhead:
    """So many calls at a time, on threads that nothing else is kept from. While a store hangs each takes its whole time-out, so
    those who were in line when one failed fail with it, and do not wait for their own.
    """

    def __init__(self, at_once: int) -> None:
        self._places = anyio.CapacityLimiter(at_once)
        self._threads = anyio.CapacityLimiter(at_once)  # who has a place finds one free
        self._failure: RedisUnavailable | BlobsUnavailable | None = None  # the last one

    async def run(self, call: Callable[..., Found], *args: object) -> Found:
        """What `call` returns. Raises what it raises, or what one before it did: RedisUnavailable or BlobsUnavailable."""
        known = self._failure
        async with self._places:
            if self._failure is not None and self._failure is not known:
                raise type(self._failure)(self._failure.message)
            try:
                return await anyio.to_thread.run_sync(call, *args, limiter=self._threads)
            except (RedisUnavailable, BlobsUnavailable) as error:
                self._failure = type(error)(error.message)
                raise
