"""How often a caller may submit: the generic cell rate algorithm, on Redis's own clock, one for all api processes.

In the form of ITU-T I.371's leaky bucket: a level falls with time and rises by one for each submission, up to the burst. It
counts in whole billionths of a submission, one for each thousandth of a submission per second and microsecond, so that nothing is
ever rounded. A key `{default}:rate:<name>` holds the level and when it was so; it expires some time after the level is 0.
"""

from typing import Any, Protocol

import redis

from sluice.errors import RateLimited
from sluice.redisio.connection import translated

_TAKE = """
local clock = %s
local now = clock[1] * 1000000 + clock[2]
local per_s, burst, ONE = tonumber(ARGV[1]), tonumber(ARGV[2]), 1000000000
local held = redis.call('HMGET', KEYS[1], 'level', 'at')
local level, at = tonumber(held[1] or 0), tonumber(held[2] or now)
level = math.max(0, level - math.max(0, now - at) * per_s)
local over = level + ONE - burst * ONE
-- What is refused writes nothing, unless the clock was set back: the level would not fall until it is where it was.
if over > 0 and now >= at then return math.ceil(over / per_s) end
if over <= 0 then level = level + ONE end
redis.call('HSET', KEYS[1], 'level', level, 'at', now)  -- Redis writes an argument with 17 digits
-- A minute more than is needed: no rounding and no step of the clock lets anybody in early.
redis.call('EXPIRE', KEYS[1], math.ceil(level / per_s / 1000000) + 60)
return math.max(0, math.ceil(over / per_s))
"""


class RateLimiter(Protocol):
    """Every implementation passes `tests/contract/test_ratelimit.py`."""

    def take(self, name: str, rate_per_s: float, burst: int) -> None:
        """Count one submission of `name`, which may have `rate_per_s` a second, in thousandths, and `burst` at once.

        Raises RateLimited with the time until the next one is allowed, and does not count it then; RedisUnavailable.
        """


class RedisRateLimiter:
    """The rates of one queue's callers. `clock` is the Lua that gives seconds and microseconds."""

    def __init__(
        self, client: "redis.Redis", queue: str, clock: str = "redis.call('TIME')"
    ) -> None:
        self._queue = queue
        self._take = client.register_script(_TAKE % clock)

    def take(self, name: str, rate_per_s: float, burst: int) -> None:
        with translated():
            wait_us: Any = self._take(
                keys=[f"{{{self._queue}}}:rate:{name}"], args=[round(rate_per_s * 1000), burst]
            )
        if wait_us:
            raise too_fast(rate_per_s, wait_us / 1_000_000)


def too_fast(rate_per_s: float, wait_s: float) -> RateLimited:
    return RateLimited(
        f"this key may submit {rate_per_s:g} a second; try again in {wait_s:.3f} s", wait_s
    )
