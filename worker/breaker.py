"""A circuit breaker: while Triton or the blob store is unavailable, predictions stay queued.

Without the breaker each of them would be claimed, and would fail.
"""

import threading
import time
from collections.abc import Callable


class Breaker:
    """Opens after `threshold` failures in a row, and closes at the next success.

    An open breaker lets one attempt through, as a probe, after each interval.
    The interval doubles from `first_s` to `longest_s` seconds.
    `tell` is given True when the breaker closes, and False at each failure that leaves it open.
    """

    def __init__(
        self,
        threshold: int = 3,
        first_s: float = 1.0,
        longest_s: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
        tell: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._threshold = threshold
        self._first_s = first_s
        self._longest_s = longest_s
        self._clock = clock
        self._tell = tell
        self._lock = threading.Lock()
        self._failures = 0
        self._next_try_at = 0.0

    def allows(self) -> bool:
        """Return whether to try now. An open breaker says yes to one caller an interval."""
        with self._lock:
            if self._failures < self._threshold:
                return True
            if self._clock() < self._next_try_at:
                return False
            self._next_try_at = self._clock() + self._wait_s()
            return True

    @property
    def is_open(self) -> bool:
        """True while attempts are held back, but for probes."""
        return self._failures >= self._threshold

    def succeeded(self) -> None:
        """Close: the attempt reached what it needs."""
        with self._lock:
            was_open = self._failures >= self._threshold
            self._failures = 0
            if was_open:
                self._tell(True)

    def failed(self) -> None:
        """Count a failure, and start the next interval."""
        with self._lock:
            self._failures += 1
            self._next_try_at = self._clock() + self._wait_s()
            if self._failures >= self._threshold:
                self._tell(False)

    def undecided(self) -> None:
        """Let another caller probe at once: this attempt ended without telling anything."""
        with self._lock:
            self._next_try_at = self._clock()

    def _wait_s(self) -> float:
        doublings = min(30, max(0, self._failures - self._threshold))
        return float(min(self._longest_s, self._first_s * 2**doublings))
