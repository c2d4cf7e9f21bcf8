"""The rate limiter in memory."""

import threading
import time
from collections.abc import Callable

from sluice.access.ratelimit import too_fast


class MemoryRateLimiter:
    """`clock_us` gives whole microseconds since the epoch."""

    def __init__(self, clock_us: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self._clock_us = clock_us
        #: The level of each name in whole billionths, and the time at which it was so.
        self._levels: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def take(self, name: str, rate_per_s: float, burst: int) -> None:
        with self._lock:
            now, per_s = self._clock_us(), round(rate_per_s * 1000)
            level, at = self._levels.get(name, (0, now))
            level = max(0, level - max(0, now - at) * per_s)
            over = level + 10**9 - burst * 10**9
            if over <= 0 or now < at:
                self._levels[name] = (level if over > 0 else level + 10**9, now)
            if over > 0:
                raise too_fast(rate_per_s, -(-over // per_s) / 1_000_000)
