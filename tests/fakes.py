"""In-memory versions of the outside systems. They enter by constructors, and pass the same contract tests as the real ones."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sluice.errors import Conflict, IdReused, LeaseLost, NotFound, QueueFull
from sluice.ledger import TOO_LATE, WORKER_LOST, Swept, check_size
from sluice.prediction import Claim, Parameters, Prediction, Problem, Status, check_transition
from sluice.queue import ENOUGH
from sluice.settings import Queue


@dataclass
class _Row:
    prediction: Prediction
    size: int
    deadline: float
    due: float | None  # when it may be claimed, while it is queued
    owner: str | None = None
    lapses_at: float | None = None
    lapses: int = 0
    lone_lapses: int | None = None  # None until it must run alone


class MemoryLedger:
    """`clock` gives seconds since the epoch. Keeps everything: retention is Redis's business."""

    def __init__(self, settings: Queue | None = None, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings or Queue()
        self._clock = clock
        self._rows: dict[str, _Row] = {}
        self._dead: list[str] = []
        self._lock = threading.RLock()

    def room(self, size: int) -> None:
        with self._lock:
            live = [row for row in self._rows.values() if not row.prediction.status.terminal]
            if len(live) >= self._settings.max_backlog:
                raise QueueFull("too many predictions")
            held = sum(row.size for row in live)
            if held and held + size > self._settings.max_bytes:
                raise QueueFull("too many bytes")

    def create(
        self, prediction_id: str, model: str, parameters: Parameters, digest: str = "", size: int = 0
    ) -> tuple[Prediction, bool]:
        with self._lock:
            if prediction_id in self._rows:
                found = self._rows[prediction_id].prediction
                if found.digest != digest:
                    raise IdReused("another submission's")
                return found, False
            self.room(size)
            now = self._clock()
            prediction = Prediction(
                id=prediction_id, model=model, status=Status.STARTING, parameters=parameters, created_at=now, digest=digest
            )
            self._rows[prediction_id] = _Row(prediction, size, now + self._settings.start_within_s, due=now)
            return prediction, True

    def get(self, prediction_id: str) -> Prediction:
        with self._lock:
            if prediction_id not in self._rows:
                raise NotFound("no such prediction")
            return self._rows[prediction_id].prediction

    def cancel(self, prediction_id: str) -> Prediction:
        with self._lock:
            if self.get(prediction_id).status.terminal:
                raise Conflict("has ended already")
            self._end(self._rows[prediction_id], Status.CANCELED)
            return self.get(prediction_id)

    def claim(self, owner: str, lease_s: float, *, alone: bool = False) -> Claim | None:
        with self._lock:
            now = self._clock()
            while due := self._due(now, alone=alone):
                row = min(due, key=lambda row: (row.due, row.prediction.id))
                if row.deadline <= now:
                    self._end(row, Status.ABORTED, error=TOO_LATE)
                    continue
                self._move(row, Status.PROCESSING, started_at=now, attempts=row.prediction.attempts + 1)
                row.due, row.owner, row.lapses_at = None, owner, now + lease_s
                return Claim(prediction=row.prediction, owner=owner)
            return None

    def renew(self, claim: Claim, lease_s: float) -> None:
        with self._lock:
            self._owned(claim).lapses_at = self._clock() + lease_s

    def succeed(self, claim: Claim, output: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        with self._lock:
            check_size(json.dumps(output), self._settings.max_output_bytes)
            self._end(self._owned(claim), Status.SUCCEEDED, output=dict(output), metrics=dict(metrics))

    def fail(self, claim: Claim, problem: Problem, metrics: Mapping[str, float]) -> None:
        with self._lock:
            self._end(self._owned(claim), Status.FAILED, error=problem, metrics=dict(metrics))

    def requeue(self, claim: Claim, delay_s: float, *, retry: bool = True) -> None:
        with self._lock:
            row = self._owned(claim)
            self._queue(row, self._clock() + delay_s, retries=row.prediction.retries + retry)

    def sweep(self) -> Swept:
        with self._lock:
            now, again, dead, aborted = self._clock(), [], [], []
            for row in self._rows.values():
                if row.lapses_at is not None and row.lapses_at <= now:
                    (dead if self._lapse(row, now) else again).append(row.prediction.id)
            for row in self._rows.values():
                if row.due is not None and row.deadline <= now:
                    self._end(row, Status.ABORTED, error=TOO_LATE)
                    aborted.append(row.prediction.id)
            counts = len(self._due(now, alone=False)), len(self._due(now, alone=True))
            return Swept(tuple(again), tuple(dead), tuple(aborted), *counts)

    def backlog(self) -> int:
        with self._lock:
            return sum(not row.prediction.status.terminal for row in self._rows.values())

    def dead(self) -> list[Prediction]:
        with self._lock:
            return [self._rows[name].prediction for name in reversed(self._dead)]

    def _lapse(self, row: _Row, now: float) -> bool:
        """Whether that was one too many."""
        if row.lone_lapses is None:
            row.lapses += 1
            row.lone_lapses = 0 if row.lapses >= self._settings.max_shared_lapses else None
        else:
            row.lone_lapses += 1
            if row.lone_lapses >= self._settings.max_lone_lapses:
                self._end(row, Status.FAILED, error=WORKER_LOST)
                self._dead.append(row.prediction.id)
                return True
        self._queue(row, now)
        return False

    def _due(self, now: float, *, alone: bool) -> list[_Row]:
        return [
            row for row in self._rows.values() if row.due is not None and row.due <= now and (row.lone_lapses is not None) is alone
        ]

    def _move(self, row: _Row, status: Status, **fields: Any) -> None:
        check_transition(row.prediction.status, status)
        row.prediction = row.prediction.model_copy(update={"status": status, **fields})

    def _queue(self, row: _Row, due: float, **fields: Any) -> None:
        self._move(row, Status.STARTING, **fields)
        row.due, row.owner, row.lapses_at = due, None, None

    def _end(self, row: _Row, status: Status, **fields: Any) -> None:
        self._move(row, status, completed_at=self._clock(), **fields)
        row.due, row.owner, row.lapses_at = None, None, None

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

    def keep(self, key: str, ttl_s: int) -> None:
        if self.get(key) is not None:
            self.put(key, self._blobs[key][0], ttl_s)

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
        if self.waiting() < ENOUGH:
            self.rings += 1

    def waiting(self) -> int:
        return self.rings - self.heard
