"""How often a caller may submit: the generic cell rate algorithm, for all api processes together.

The form is the leaky bucket of ITU-T I.371: a level falls with time and rises by one for each
submission, up to the burst. The clock is Redis's. `lua/take.lua` holds the algorithm.
"""

from typing import Protocol

import redis

from sluice.errors import RateLimited
from sluice.redisio.connection import translated
from sluice.redisio.names import Names
from sluice.redisio.scripts import load, run

_TAKE = load("sluice.access", "take")


class RateLimiter(Protocol):
    """Every implementation passes `tests/contract/test_ratelimit.py`."""

    def take(self, name: str, rate_per_s: float, burst: int) -> None:
        """Count one submission of the API key `name`.

        `rate_per_s` counts in thousandths; `burst` submissions may come at once. Raises
        RedisUnavailable. Raises RateLimited, with the time until the next submission is allowed;
        then this one is not counted.
        """


class RedisRateLimiter:
    """The rates of one queue's callers. `clock`: Lua for seconds and microseconds, in tests."""

    def __init__(self, client: "redis.Redis", queue: str, clock: str | None = None) -> None:
        self._redis = client
        self._names = Names(queue)
        self._script = _TAKE
        if clock is not None:
            self._script = load("sluice.access", "take", {"time": f"local time = {clock}"})

    def take(self, name: str, rate_per_s: float, burst: int) -> None:
        call = self._script.call([self._names.rate(name)], [round(rate_per_s * 1000), burst])
        with translated():
            wait_us = run(self._redis, call)
        if wait_us:
            raise too_fast(rate_per_s, wait_us / 1_000_000)


def too_fast(rate_per_s: float, wait_s: float) -> RateLimited:
    return RateLimited(
        f"this key may submit {rate_per_s:g} a second; try again in {wait_s:.3f} s", wait_s
    )
