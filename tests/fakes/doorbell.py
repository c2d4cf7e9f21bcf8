"""The doorbell in memory."""

from dataclasses import dataclass, field

from sluice.intake.doorbell import MAX_WAITING_RINGS


@dataclass
class CountingDoorbell:
    """Counts the rings."""

    rings: int = 0
    heard: int = 0
    """The rings that have woken a worker."""
    errors: list[Exception] = field(default_factory=list)
    """Errors that the next calls of `ring` raise, the first one first."""

    def ring(self) -> None:
        if self.errors:
            raise self.errors.pop(0)
        if self.waiting() < MAX_WAITING_RINGS:
            self.rings += 1

    def waiting(self) -> int:
        return self.rings - self.heard
