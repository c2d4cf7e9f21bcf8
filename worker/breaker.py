"""A circuit breaker: while a part is away, predictions wait in the queue instead of failing one by one."""

import threading
import time
from collections.abc import Callable


class Breaker:
    """Opens after `threshold` failures in a row; then lets one attempt through now and then, until one succeeds.

    The time between these doubles from `first_s` to `longest_s` seconds.
    """

    def __init__(
        self,
        threshold: int = 3,
        first_s: float = 1.0,
        longest_s: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threshold = threshold
        self._first_s = first_s
        self._longest_s = longest_s
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._next_try_at = 0.0

    def allows(self) -> bool:
        """Whether to try now. While it is open, one caller is told yes in each interval."""
        with self._lock:
            if self._failures < self._threshold:
                return True
            if self._clock() < self._next_try_at:
                return False
            self._next_try_at = self._clock() + self._wait_s()
            return True

    def succeeded(self) -> None:
        with self._lock:
            self._failures = 0

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            self._next_try_at = self._clock() + self._wait_s()

    def undecided(self) -> None:
        """What was let through ended before it could tell whether the part is back: somebody else may try, now."""
        with self._lock:
            self._next_try_at = self._clock()

    def _wait_s(self) -> float:
        doublings = min(30, max(0, self._failures - self._threshold))
        return float(min(self._longest_s, self._first_s * 2**doublings))
