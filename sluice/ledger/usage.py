"""The use of a model: the number of its queued and running predictions."""

from typing import Any, Protocol

import redis

from sluice.redisio.connection import translated
from sluice.redisio.names import Names

_AT_A_TIME = 500


class Usage(Protocol):
    """Counts predictions by their model."""

    def count(self, model: str) -> int:
        """How many predictions of `model` are queued or running. Raises RedisUnavailable."""


class RedisUsage:
    """Reads what the ledger writes. The cost is one command a queued prediction."""

    def __init__(self, client: "redis.Redis", queue: str) -> None:
        self._redis = client
        self._names = Names(queue)

    def count(self, model: str) -> int:
        found, cursor = 0, 0
        with translated():
            while True:
                entries: Any
                cursor, entries = self._redis.zscan(self._names.live, cursor, count=_AT_A_TIME)
                with self._redis.pipeline(transaction=False) as pipe:
                    for name, _ in entries:
                        pipe.hget(self._names.prediction(name.decode()), "model")
                    found += pipe.execute().count(model.encode())
                if cursor == 0:
                    return found
