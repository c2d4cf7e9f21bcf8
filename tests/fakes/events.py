"""Changes of status in memory."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from sluice.prediction import Status


@dataclass(eq=False)
class _Caller:
    subject_id: str
    every_change: bool
    event: asyncio.Event = field(default_factory=asyncio.Event)


class MemoryEvents:
    """Changes that a test publishes."""

    def __init__(self) -> None:
        self.closing = False
        self._callers: list[_Caller] = []
        self._ended: set[str] = set()

    @property
    def waiting(self) -> list[asyncio.Event]:
        """The events of the waiting callers, the oldest first."""
        return [caller.event for caller in self._callers]

    def publish(self, subject_id: str, status: Status) -> None:
        """Tell the waiting callers of a new status."""
        if status.terminal:
            self._ended.add(subject_id)
        for caller in self._callers:
            if caller.subject_id == subject_id and (caller.every_change or status.terminal):
                caller.event.set()

    def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    def close(self) -> None:
        self.closing = True
        for caller in self._callers:
            caller.event.set()

    @contextlib.contextmanager
    def expect(self, subject_id: str, *, every_change: bool = False) -> Iterator[asyncio.Event]:
        caller = _Caller(subject_id, every_change)
        if subject_id in self._ended:
            caller.event.set()
        self._callers.append(caller)
        try:
            yield caller.event
        finally:
            self._callers.remove(caller)
