"""The state of a queue as a test sets it."""

from dataclasses import dataclass, field

from sluice.errors import RedisUnavailable
from sluice.ledger.state import QueueState, ReadyState


def empty_state() -> QueueState:
    """Nothing waits, and nothing was set aside."""
    ready = {priority: ReadyState(0, 0.0) for priority in ("high", "normal", "low")}
    return QueueState(ready, 0, 0, 0, 0, 0, 0.0, 0, False)


@dataclass
class MemoryState:
    """Answers `state`, or fails where it is None."""

    state: QueueState | None = field(default_factory=empty_state)

    def read(self) -> QueueState:
        if self.state is None:
            raise RedisUnavailable("Redis is unavailable; try again later")
        return self.state
