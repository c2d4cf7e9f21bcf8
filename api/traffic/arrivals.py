"""The submissions that arrive at the moment."""

from types import TracebackType

_MANY = 8


class Arrivals:
    """Counts the submissions whose bodies are read, or that are put on record.

    A context manager: each submission enters it. Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._count = 0

    def are_many(self) -> bool:
        """True while a burst arrives: at least eight submissions at once."""
        return self._count >= _MANY

    def __enter__(self) -> None:
        self._count += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._count -= 1
