"""Who may run: many side by side, or one alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ExclusiveLock:
    """Readers and a writer, with the writer preferred: what must run alone is not starved by a stream of others."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._alone = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """One caller at a time: the keeper's thread."""
        with self._changed:
            self._alone = True
            self._changed.wait_for(lambda: not self._inside)
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()
