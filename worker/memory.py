"""A bound on the memory of what runs side by side."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class MemoryBudget:
    """Lets callers in while their bytes together stay within a bound, in the order they came.

    A caller that alone needs more than the bound goes in when nobody else is inside.
    """

    def __init__(self, limit: int = 512 * 2**20) -> None:
        self._limit = limit
        self._used = 0
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Wait until `size` bytes are free, and hold them for the block."""
        with self._turn, self._changed:  # the first in line waits; the others queue behind it
            self._changed.wait_for(lambda: not self._used or self._used + size <= self._limit)
            self._used += size
        try:
            yield
        finally:
            with self._changed:
                self._used -= size
                self._changed.notify_all()
