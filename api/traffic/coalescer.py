"""Rings the doorbell without delaying the submission."""

import asyncio
from collections.abc import Awaitable, Callable

from sluice.errors import Unavailable
from sluice.intake.intake import no_worker_woken

_GAP_S = 0.005
_LOOK_S = 0.002
# The ring of a burst waits at most so long after its first submission,
_BURST_S = 0.1
# so long after its last one while many others arrive,
_PAUSE_S = 0.04
# and so long where few do: the client may be about to send the rest.
_GRACE_S = 0.01


class Coalescer:
    """Rings at once, and after that at most once in five milliseconds.

    A message costs Celery as much as accepting a prediction. One ring is enough for many
    predictions: a woken worker continues until no prediction is due.

    While a burst arrives, the ring waits: inference would take the cores that accept the rest. The
    wait is 0.1 s at most. A pause of 40 ms ends the wait earlier, and so do 10 ms with few
    arrivals. The rings that were left out follow: each one wakes one thread of a worker.
    """

    def __init__(
        self,
        ring: Callable[[], Awaitable[None]],
        in_burst: Callable[[], bool] = lambda: False,
    ) -> None:
        """`ring` raises Unavailable where no worker could be woken."""
        self._ring = ring
        self._in_burst = in_burst
        self._pending, self._last_id = 0, ""
        self._burst = False
        self._not_before = 0.0
        self._first_at = self._last_at = 0.0
        self._ringing: set[asyncio.Task[None]] = set()

    def __call__(self, prediction_id: str) -> None:
        """Ring for a prediction. Call this on the event loop."""
        loop = asyncio.get_running_loop()
        self._last_at, self._last_id = loop.time(), prediction_id
        self._pending += 1
        self._burst = self._burst or self._in_burst()
        if self._pending > 1:
            return  # scheduled already
        self._first_at = self._last_at
        loop.call_at(max(self._not_before, self._first_at), self._go, loop)

    def _go(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        pause_s = _PAUSE_S if self._in_burst() else _GRACE_S
        if self._burst and now < min(self._first_at + _BURST_S, self._last_at + pause_s):
            loop.call_later(_LOOK_S, self._go, loop)
            return
        waited_s = now - max(self._first_at, self._not_before)
        rings = min(self._pending, 1 + int(waited_s / _GAP_S))
        ringing = loop.create_task(self._ring_for(self._last_id, rings))
        self._pending, self._burst = 0, False
        self._not_before = now + _GAP_S
        self._ringing.add(ringing)  # the loop itself keeps no task alive
        ringing.add_done_callback(self._ringing.discard)

    async def _ring_for(self, prediction_id: str, rings: int) -> None:
        """Ring, and name the last prediction that needed a worker where that fails."""
        try:
            for _ in range(rings):
                await self._ring()
        except Unavailable as error:
            no_worker_woken(prediction_id, error)
