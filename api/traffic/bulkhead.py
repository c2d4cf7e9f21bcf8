"""A bulkhead: a store that hangs blocks only the calls of its own bulkhead."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread

from sluice.errors import BlobsUnavailable, RedisUnavailable

Result = TypeVar("Result")


class Bulkhead:
    """At most `at_once` blocking calls, on threads reserved for them.

    While a store hangs, each call takes its whole timeout. When one call fails, all calls that wait
    for a thread fail with it. None of them waits for a timeout of its own.
    """

    def __init__(self, at_once: int) -> None:
        self._places = anyio.CapacityLimiter(at_once)
        self._threads = anyio.CapacityLimiter(at_once)  # a call with a place finds a free thread
        self._last_failure: RedisUnavailable | BlobsUnavailable | None = None

    async def run(self, call: Callable[..., Result], *args: object) -> Result:
        """The result of `call`, which runs on a thread. Raises as `run_async` does."""
        return await self.run_async(
            partial(anyio.to_thread.run_sync, call, *args, limiter=self._threads)
        )

    async def run_async(self, call: Callable[..., Awaitable[Result]], *args: object) -> Result:
        """The result of `call`, which runs on the event loop. Raises the call's error.

        Raises RedisUnavailable or BlobsUnavailable also where a call before it failed so.
        """
        before = self._last_failure
        async with self._places:
            if self._last_failure is not None and self._last_failure is not before:
                raise type(self._last_failure)(self._last_failure.message)
            try:
                return await call(*args)
            except (RedisUnavailable, BlobsUnavailable) as error:
                self._last_failure = type(error)(error.message)
                raise
