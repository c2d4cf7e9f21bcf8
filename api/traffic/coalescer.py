"""Rings the doorbell without delaying the submission."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

_GAP_S = 0.005


class Coalescer:
    """Rings at once, and after that at most once in five milliseconds.

    A message costs Celery as much as accepting a prediction. One ring is enough for many
    predictions: a woken worker continues until no prediction is due.
    """

    def __init__(self, ring: Callable[[str], None], threads: Executor) -> None:
        """`ring` is called on a thread, with the id of the last prediction that needs a worker."""
        self._ring = ring
        self._threads = threads
        self._pending_id: str | None = None
        self._not_before = 0.0

    def __call__(self, prediction_id: str) -> None:
        """Ring for a prediction. Call this on the event loop."""
        scheduled, self._pending_id = self._pending_id is not None, prediction_id
        if scheduled:
            return
        loop = asyncio.get_running_loop()
        loop.call_at(max(self._not_before, loop.time()), self._go, loop)

    def _go(self, loop: asyncio.AbstractEventLoop) -> None:
        prediction_id, self._pending_id = self._pending_id, None
        self._not_before = loop.time() + _GAP_S
        self._threads.submit(self._ring, prediction_id or "")
