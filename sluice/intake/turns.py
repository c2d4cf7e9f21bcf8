"""A bound for calls in flight on an event loop, where a failure ends the wait of all others."""

import asyncio
from collections import deque
from types import TracebackType

from sluice.errors import Unavailable


class Turns:
    """At most `limit` callers hold a turn; others wait, the first come first.

    A turn that ends with Unavailable gives the same error to all that wait at that moment. Else
    each would wait for a time-out of its own, one after another. Belongs to one event loop.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._pass_on()  # the turn had come
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Unavailable):
            while self._waiting:
                turn = self._waiting.popleft()
                if not turn.done():
                    # Each caller gets its own exception, since raising one adds a traceback to it.
                    turn.set_exception(type(error)(*error.args))
        self._pass_on()

    def _pass_on(self) -> None:
        """Give a turn that is over to the next that waits."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
