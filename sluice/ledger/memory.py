"""How full Redis is."""

import time
from typing import Any

import redis

_CACHE_TTL_S = 0.5


class MemoryUse:
    """Reads the use of Redis's memory, and remembers it for a moment: to ask costs a write's time.

    Thread-safe. Two threads may ask at once.
    """

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client
        self._read_at = -float("inf")
        self._share = 0.0

    def share(self) -> float:
        """Return how much of `maxmemory` is in use, 0 to 1; 0 where there is no bound.

        Raises errors of redis-py.
        """
        if time.monotonic() - self._read_at > _CACHE_TTL_S:
            try:
                memory: Any = self._redis.info("memory")
            except redis.exceptions.NoPermissionError:  # reported by redisio/health.py
                memory = {}
            limit = memory.get("maxmemory")
            self._share = memory["used_memory"] / limit if limit else 0.0
            self._read_at = time.monotonic()
        return self._share
