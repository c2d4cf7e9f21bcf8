"""A lock for work that runs side by side, and for work that must run alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ExclusiveLock:
    """A readers-writer lock that prefers the writer.

    A steady stream of shared holders can't starve the exclusive one.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sharing = 0
        self._exclusive = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lock beside others. Waits while the exclusive holder runs, or waits."""
        with self._changed:
            self._changed.wait_for(lambda: not self._exclusive)
            self._sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing -= 1
                self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock alone. Only one thread, the keeper's, may call this."""
        with self._changed:
            self._exclusive = True
            self._changed.wait_for(lambda: not self._sharing)
        try:
            yield
        finally:
            with self._changed:
                self._exclusive = False
                self._changed.notify_all()
