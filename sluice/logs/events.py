"""Events, and the fields that the lines of a block share."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

_shared: ContextVar[Mapping[str, Any]] = ContextVar("log_fields", default=MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Event:
    """The message of a log record."""

    name: str
    """Stable, for programs, such as `prediction_retried`."""
    sentence: str
    """The event for people."""
    fields: Mapping[str, Any]

    def __str__(self) -> str:
        fields = "".join(f" {name}={value}" for name, value in self.fields.items())
        return f"{self.name}: {self.sentence}{fields}"


class Log:
    """Writes events to one logger of the standard library."""

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, sentence: str, **fields: Any) -> None:
        """Log details for a search after a fault."""
        self._write(logging.DEBUG, event, sentence, fields)

    def info(self, event: str, sentence: str, **fields: Any) -> None:
        """Log the course of normal work."""
        self._write(logging.INFO, event, sentence, fields)

    def warning(self, event: str, sentence: str, **fields: Any) -> None:
        """Log a fault that Sluice puts right itself."""
        self._write(logging.WARNING, event, sentence, fields)

    def error(self, event: str, sentence: str, **fields: Any) -> None:
        """Log a fault that an operator must act on."""
        self._write(logging.ERROR, event, sentence, fields)

    def exception(self, event: str, sentence: str, **fields: Any) -> None:
        """Log the error that is being handled, with its stack, at the level ERROR."""
        self._write(logging.ERROR, event, sentence, fields, True)

    def failure(self, event: str, sentence: str, cause: BaseException, **fields: Any) -> None:
        """Log an error that is not being handled, with its stack, at the level ERROR."""
        self._write(logging.ERROR, event, sentence, fields, cause)

    def _write(
        self,
        level: int,
        event: str,
        sentence: str,
        fields: Mapping[str, Any],
        cause: BaseException | bool | None = None,
    ) -> None:
        if self._logger.isEnabledFor(level):
            message = Event(event, sentence, {**_shared.get(), **fields})
            self._logger.log(level, message, exc_info=cause, stacklevel=3)


def get(name: str) -> Log:
    """Return the log of the module `name`."""
    return Log(logging.getLogger(name))


@contextmanager
def about(**fields: Any) -> Iterator[None]:
    """Add fields to each line that the present thread or task writes within the block."""
    token = _shared.set({**_shared.get(), **fields})
    try:
        yield
    finally:
        _shared.reset(token)


def shared_fields() -> Mapping[str, Any]:
    """Return the fields that `about` set for the present thread or task."""
    return _shared.get()
