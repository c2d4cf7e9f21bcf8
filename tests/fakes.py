"""In-memory versions of the outside systems. They enter by constructors, and pass the same contract tests as the real ones."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sluice.errors import Conflict, LeaseLost, NotFound
from sluice.ledger import WORKER_LOST, Swept
from sluice.prediction import Claim, Parameters, Prediction, Problem, Status, check_transition


@dataclass
class _Row:
    prediction: Prediction
    due: float | None  # when it may be claimed, while it is queued
    owner: str | None = None
    lapses_at: float | None = None
    lapses: int = 0


class MemoryLedger:
    """`clock` gives seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._rows: dict[str, _Row] = {}
        self._lock = threading.RLock()

    def create(self, prediction_id: str, model: str, parameters: Parameters) -> Prediction:
        with self._lock:
            if prediction_id in self._rows:
                raise Conflict("exists already")
            now = self._clock()
            prediction = Prediction(id=prediction_id, model=model, status=Status.STARTING, parameters=parameters, created_at=now)
            self._rows[prediction_id] = _Row(prediction, due=now)
            return prediction

    def get(self, prediction_id: str) -> Prediction:
        with self._lock:
            if prediction_id not in self._rows:
                raise NotFound("no such prediction")
            return self._rows[prediction_id].prediction

    def claim(self, owner: str, lease_s: float) -> Claim | None:
        with self._lock:
            now = self._clock()
            due = [row for row in self._rows.values() if row.due is not None and row.due <= now]
            if not due:
                return None
            row = min(due, key=lambda row: (row.due, row.prediction.id))
            self._move(row, Status.PROCESSING, started_at=now, attempts=row.prediction.attempts + 1)
            row.due, row.owner, row.lapses_at = None, owner, now + lease_s
            return Claim(prediction=row.prediction, owner=owner)

    def renew(self, claim: Claim, lease_s: float) -> None:
        with self._lock:
            self._owned(claim).lapses_at = self._clock() + lease_s

    def succeed(self, claim: Claim, output: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        with self._lock:
            self._end(self._owned(claim), Status.SUCCEEDED, output=dict(output), metrics=dict(metrics))

    def fail(self, claim: Claim, problem: Problem, metrics: Mapping[str, float]) -> None:
        with self._lock:
            self._end(self._owned(claim), Status.FAILED, error=problem, metrics=dict(metrics))

    def requeue(self, claim: Claim, delay_s: float) -> None:
        with self._lock:
            self._queue(self._owned(claim), self._clock() + delay_s)

    def sweep(self, max_lapses: int) -> Swept:
        with self._lock:
            now, again, failed = self._clock(), [], []
            for row in self._rows.values():
                if row.lapses_at is None or row.lapses_at > now:
                    continue
                row.lapses += 1
                if row.lapses >= max_lapses:
                    self._end(row, Status.FAILED, error=WORKER_LOST)
                    failed.append(row.prediction.id)
                else:
                    self._queue(row, now)
                    again.append(row.prediction.id)
            due = sum(row.due is not None and row.due <= now for row in self._rows.values())
            return Swept(tuple(again), tuple(failed), due)

    def backlog(self) -> int:
        with self._lock:
            return sum(not row.prediction.status.terminal for row in self._rows.values())

    def _move(self, row: _Row, status: Status, **fields: Any) -> None:
        check_transition(row.prediction.status, status)
        row.prediction = row.prediction.model_copy(update={"status": status, **fields})

    def _queue(self, row: _Row, due: float) -> None:
        self._move(row, Status.STARTING)
        row.due, row.owner, row.lapses_at = due, None, None

    def _end(self, row: _Row, status: Status, **fields: Any) -> None:
        self._move(row, status, completed_at=self._clock(), **fields)
        row.owner, row.lapses_at = None, None

    def _owned(self, claim: Claim) -> _Row:
        row = self._rows.get(claim.prediction.id)
        if row is None or row.owner != claim.owner:
            raise LeaseLost("no longer this attempt's")
        return row


class MemoryBlobs:
    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._blobs: dict[str, tuple[bytes, float]] = {}

    def put(self, key: str, data: bytes, ttl_s: int) -> None:
        self._blobs[key] = (data, self._clock() + ttl_s)

    def get(self, key: str) -> bytes | None:
        data, until = self._blobs.get(key, (None, 0.0))
        return data if until > self._clock() else None

    def delete(self, key: str) -> None:
        self._blobs.pop(key, None)


@dataclass
class CountingDoorbell:
    """Counts the rings; `heard` of them have woken somebody."""

    rings: int = 0
    heard: int = 0
    errors: list[Exception] = field(default_factory=list)

    def ring(self) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.rings += 1

    def waiting(self) -> int:
        return self.rings - self.heard
