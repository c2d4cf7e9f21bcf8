"""Rings the doorbell without delaying the submission."""

import asyncio
from collections.abc import Awaitable, Callable

from sluice.errors import Unavailable
from sluice.intake.intake import no_worker_woken

_GAP_S = 0.005


class Coalescer:
    """Rings at once, and after that at most once in five milliseconds.

    A message costs Celery as much as accepting a prediction. One ring is enough for many
    predictions: a woken worker continues until no prediction is due.
    """

    def __init__(self, ring: Callable[[], Awaitable[None]]) -> None:
        """`ring` raises Unavailable where no worker could be woken."""
        self._ring = ring
        self._pending_id: str | None = None
        self._not_before = 0.0
        self._ringing: set[asyncio.Task[None]] = set()

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
        ringing = loop.create_task(self._ring_for(prediction_id or ""))
        self._ringing.add(ringing)  # the loop itself keeps no task alive
        ringing.add_done_callback(self._ringing.discard)

    async def _ring_for(self, prediction_id: str) -> None:
        """Ring, and name the last prediction that needed a worker where that fails."""
        try:
            await self._ring()
        except Unavailable as error:
            no_worker_woken(prediction_id, error)
