"""The list of models as an api saw it last, kept for an api that starts without Triton."""

from typing import Any, Protocol

import redis

from sluice.redisio.connection import translated
from sluice.redisio.names import Names


class KeptModels(Protocol):
    """Each method raises RedisUnavailable."""

    def load(self) -> bytes | None:
        """The text that was saved last; None where there is none, or its time is over."""

    def save(self, text: bytes) -> None:
        """Replace the text."""

    def forget(self) -> None:
        """Delete the text. An api saves it again once it has a new list of Triton."""


class RedisKeptModels:
    """One key of the queue, which expires after `ttl_s`."""

    def __init__(self, client: "redis.Redis", queue: str, *, ttl_s: float) -> None:
        self._redis = client
        self._key = Names(queue).models
        self._ttl_ms = max(1, int(ttl_s * 1000))

    def load(self) -> bytes | None:
        with translated():
            text: Any = self._redis.get(self._key)
        return None if text is None else bytes(text)

    def save(self, text: bytes) -> None:
        with translated():
            self._redis.set(self._key, text, px=self._ttl_ms)

    def forget(self) -> None:
        with translated():
            self._redis.delete(self._key)
