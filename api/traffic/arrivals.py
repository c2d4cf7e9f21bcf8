"""The submissions that arrive at the moment."""

from collections.abc import Iterator
from contextlib import contextmanager

_MANY = 8


class Arrivals:
    """Counts the submissions whose bodies are read, or that are put on record.

    Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._count = 0

    def are_many(self) -> bool:
        """True while a burst arrives: at least eight submissions at once."""
        return self._count >= _MANY

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count one submission, until the block ends."""
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
