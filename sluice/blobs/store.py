"""Blobs: bytes under a key with a time to live. The input image and the annotated one."""

import contextlib
from typing import Protocol

import redis
from redis.exceptions import OutOfMemoryError

from sluice.errors import BlobsUnavailable
from sluice.redisio.connection import translated
from sluice.redisio.replication import Replication

_PROBE_TTL_S = 60
_AT_ONCE = 100  # keys in one command: Redis does nothing else meanwhile


class Blobs(Protocol):
    """Every implementation passes `tests/contract/test_blobs.py`.

    All methods raise BlobsUnavailable where the store is unavailable.
    """

    def check(self) -> None:
        """Raises BlobsUnavailable where the store does not answer, or takes no images."""

    def put(self, key: str, data: bytes, ttl_s: int) -> None:
        """Store `data` for `ttl_s` seconds; replaces what was there."""

    def get(self, key: str) -> bytes | None:
        """The bytes, or None when they were never stored, were deleted or have expired."""

    def keep(self, key: str, ttl_s: int) -> bool:
        """Let a blob live `ttl_s` seconds from now. Returns False where there is none."""

    def delete(self, *keys: str) -> None:
        """Delete blobs; a missing one is no error."""


def input_key(prediction_id: str, digest: str) -> str:
    """The digest is part of the key: of two submissions with one id, neither replaces the image."""
    return f"{prediction_id}/input-{digest[:16]}"


def annotated_key(prediction_id: str) -> str:
    return f"{prediction_id}/annotated"


def stored_key(blob_key: str) -> str:
    """The name of the blob's key in Redis."""
    return f"blob:{blob_key}"


class RedisBlobs:
    """Each blob is one string. `put` returns once the replicas that `replication` asks for have it.

    Too few replicas raise BlobsUnavailable, as if the store were unavailable.
    """

    def __init__(self, client: "redis.Redis", replication: Replication | None = None) -> None:
        self._redis = client
        self._replication = replication

    def check(self) -> None:
        with translated(BlobsUnavailable), contextlib.suppress(OutOfMemoryError):
            self._redis.set(stored_key("probe"), b"", ex=_PROBE_TTL_S)  # a full store still reads

    def put(self, key: str, data: bytes, ttl_s: int) -> None:
        with translated(BlobsUnavailable):
            if self._replication is None:
                self._redis.set(stored_key(key), data, ex=ttl_s)
                return
            self._replication.write(self._redis, "SET", stored_key(key), data, "EX", ttl_s)

    def get(self, key: str) -> bytes | None:
        with translated(BlobsUnavailable):
            data = self._redis.get(stored_key(key))
        return data if isinstance(data, bytes) else None

    def keep(self, key: str, ttl_s: int) -> bool:
        with translated(BlobsUnavailable):
            return bool(self._redis.expire(stored_key(key), ttl_s))

    def delete(self, *keys: str) -> None:
        with translated(BlobsUnavailable):
            for start in range(0, len(keys), _AT_ONCE):
                self._redis.unlink(*map(stored_key, keys[start : start + _AT_ONCE]))
