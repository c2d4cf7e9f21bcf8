"""The presence of workers in memory."""

from sluice.ledger.presence import Look
from tests.fakes.ledger import MemoryLedger


class Attendance:
    """The subscriptions of all workers, and the time of each worker's last sign."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self.ledger = ledger
        self.subscribed: set[str] = set()
        self.seen_at: dict[str, float] = {}


class MemoryPresence:
    """One worker, or a keeper without one."""

    def __init__(self, attendance: Attendance, worker: str = "") -> None:
        self._shared = attendance
        self._worker = worker

    def look(self) -> Look:
        shared, now = self._shared, self._shared.ledger.now()
        if self._worker:
            shared.subscribed.add(self._worker)
            shared.seen_at[self._worker] = now
        silent_since = now - shared.ledger.settings.gone_after_s
        gone = tuple(
            worker
            for worker, at in shared.seen_at.items()
            if at <= silent_since and worker not in shared.subscribed
        )
        for worker in gone:
            del shared.seen_at[worker]
        return Look(gone, sum(map(shared.ledger.end_leases, gone)))

    def close(self) -> None:
        self._shared.subscribed.discard(self._worker)
