"""The blob store in memory."""

import time
from collections.abc import Callable


class MemoryBlobs:
    """`clock` gives seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        #: Each blob with the time at which it expires.
        self._blobs: dict[str, tuple[bytes, float]] = {}

    def check(self) -> None:
        pass

    def put(self, key: str, data: bytes, ttl_s: int) -> None:
        self._blobs[key] = (data, self._clock() + ttl_s)

    def get(self, key: str) -> bytes | None:
        data, until = self._blobs.get(key, (None, 0.0))
        return data if until > self._clock() else None

    def keep(self, key: str, ttl_s: int) -> bool:
        if self.get(key) is None:
            return False
        self.put(key, self._blobs[key][0], ttl_s)
        return True

    def delete(self, *keys: str) -> None:
        for key in keys:
            self._blobs.pop(key, None)
