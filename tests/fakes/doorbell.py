"""A doorbell that counts."""

from dataclasses import dataclass, field

from sluice.intake.doorbell import MAX_WAITING_RINGS


@dataclass
class CountingDoorbell:
    """Counts the rings; `heard` of them have woken somebody."""

    rings: int = 0
    heard: int = 0
    errors: list[Exception] = field(default_factory=list)

    def ring(self) -> None:
        if self.errors:
            raise self.errors.pop(0)
        if self.waiting() < MAX_WAITING_RINGS:
            self.rings += 1

    def waiting(self) -> int:
        return self.rings - self.heard
