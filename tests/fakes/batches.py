"""Batches in memory."""

from collections.abc import Sequence
from dataclasses import dataclass

from sluice.batch import Batch, BatchSubmission, ItemError
from sluice.ledger.batches import has_ended, reused, unknown
from sluice.prediction import Prediction, Status
from tests.fakes.ledger import MemoryLedger


@dataclass
class _Row:
    batch: Batch
    digest: str
    idle_at: float | None
    """The time at which the sweep seals the batch; None once it is sealed."""


class MemoryBatches:
    """Batches of the predictions in a `MemoryLedger`. Keeps every batch."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger
        self._rows: dict[str, _Row] = {}
        ledger.batches = self

    def open(self, batch_id: str, submission: BatchSubmission, digest: str = "") -> Batch:
        now = self._ledger.now()
        counts = dict.fromkeys(Status, 0)
        row = self._rows.setdefault(
            batch_id,
            _Row(
                Batch(id=batch_id, created_at=now, counts=counts, **dict(submission)), digest, now
            ),
        )
        if row.digest != digest:
            raise reused(batch_id)
        if self.takes(batch_id):
            row.idle_at = now + self._ledger.settings.batch_idle_s
        return self.get(batch_id)

    def seal(self, batch_id: str, errors: Sequence[ItemError] = ()) -> Batch:
        row = self._row(batch_id)
        row.idle_at = None
        created = {prediction.id for prediction in self._predictions(batch_id)}
        kept = tuple(error for error in errors if row.batch.item(error.index) not in created)
        row.batch = row.batch.model_copy(update={"errors": kept})
        return self.get(batch_id)

    def get(self, batch_id: str, key: str | None = None) -> Batch:
        row = self._row(batch_id, key)
        counts = dict.fromkeys(Status, 0)
        for prediction in self._predictions(batch_id):
            counts[prediction.status] += 1
        ended = row.idle_at is None and not counts[Status.STARTING] + counts[Status.PROCESSING]
        completed_at = (row.batch.completed_at or self._ledger.now()) if ended else None
        row.batch = row.batch.model_copy(update={"counts": counts, "completed_at": completed_at})
        return row.batch

    def cancel(self, batch_id: str, key: str | None = None) -> list[tuple[str, str]]:
        if self.get(batch_id, key).completed_at is not None:
            raise has_ended(self.get(batch_id))
        row = self._row(batch_id)
        row.idle_at, row.batch = None, row.batch.model_copy(update={"canceled": True})
        live = [
            prediction
            for prediction in self._predictions(batch_id)
            if not prediction.status.terminal
        ]
        for prediction in live:
            self._ledger.cancel(prediction.id)
        return [(prediction.id, prediction.digest) for prediction in live]

    def predictions(self, batch: Batch, first: int, limit: int) -> list[Prediction]:
        by_id = {prediction.id: prediction for prediction in self._predictions(batch.id)}
        ids = [batch.item(index) for index in range(first, min(batch.total, first + limit))]
        return [by_id[name] for name in ids if name in by_id]

    def ids(self) -> list[str]:
        """The ids of all batches, the oldest first."""
        return list(self._rows)

    def make_idle(self, batch_id: str) -> None:
        """Let the next sweep seal the batch."""
        self._row(batch_id).idle_at = 0

    def takes(self, batch_id: str) -> bool:
        """True while predictions may be created for the batch."""
        return (
            batch_id in self._rows
            and self.get(batch_id).completed_at is None
            and not self._rows[batch_id].batch.canceled
        )

    def renew(self, batch_id: str) -> None:
        row = self._row(batch_id)
        if row.idle_at is not None:
            row.idle_at = self._ledger.now() + self._ledger.settings.batch_idle_s

    def sweep(self) -> None:
        for batch_id, row in list(self._rows.items()):
            if row.idle_at is not None and row.idle_at <= self._ledger.now():
                row.idle_at = None
                if not any(self._predictions(batch_id)):
                    del self._rows[batch_id]

    def _row(self, batch_id: str, key: str | None = None) -> _Row:
        row = self._rows.get(batch_id)
        if row is None or key not in (None, row.batch.key):
            raise unknown(batch_id)
        return row

    def _predictions(self, batch_id: str) -> list[Prediction]:
        return [
            prediction for prediction in self._ledger.predictions() if prediction.batch == batch_id
        ]
