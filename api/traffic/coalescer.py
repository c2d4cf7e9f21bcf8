"""Waking workers without holding up whoever submits."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

_GAP_S = 0.005


class Coalescer:
    """Rings at once, and from then on at most once in five milliseconds: a message costs Celery as much as all that accepting does,
    and whoever is woken goes on until nothing is due. `ring` is called on a thread, with the prediction that asked last.
    """

    def __init__(self, ring: Callable[[str], None], threads: Executor) -> None:
        self._ring = ring
        self._threads = threads
        self._asked_for: str | None = None
        self._not_before = 0.0

    def __call__(self, prediction_id: str) -> None:
        """On the event loop."""
        waiting, self._asked_for = self._asked_for is not None, prediction_id
        if waiting:
            return
        loop = asyncio.get_running_loop()
        loop.call_at(max(self._not_before, loop.time()), self._go, loop)

    def _go(self, loop: asyncio.AbstractEventLoop) -> None:
        prediction_id, self._asked_for = self._asked_for, None
        self._not_before = loop.time() + _GAP_S
        self._threads.submit(self._ring, prediction_id or "")
