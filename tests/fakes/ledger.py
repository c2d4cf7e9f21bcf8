"""The ledger in memory."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sluice.errors import Conflict, IdReused, LeaseLost, NotFound, QueueFull
from sluice.ledger.answers import TOO_LATE, WORKER_LOST, Created, QueueLoad, Swept
from sluice.ledger.record import check_size
from sluice.prediction import (
    Claim,
    Prediction,
    Priority,
    Problem,
    Status,
    Submission,
    check_transition,
)
from sluice.redisio.health import Health
from sluice.settings import QueueSettings


@dataclass
class _Row:
    """One prediction; times are in seconds since the epoch."""

    prediction: Prediction
    size: int
    """The image's size in bytes."""
    deadline: float
    due: float | None
    """The time from which a queued prediction may be claimed, else None."""
    owner: str | None = None
    lapses_at: float | None = None
    lapses: int = 0
    lone_lapses: int | None = None
    """Lapses since the prediction must run alone; None before."""

    @property
    def queue(self) -> tuple[Priority, str]:
        return self.prediction.priority, self.prediction.key

    @property
    def place(self) -> tuple[float, str]:
        """The sort key within the queue."""
        return self.due or 0.0, self.prediction.id


def _extended_logs(row: _Row, logs: str) -> str:
    return f"{row.prediction.logs}{logs}\n" if logs else row.prediction.logs


class MemoryLedger:
    """Keeps every prediction: retention belongs to Redis.

    `clock` gives seconds since the epoch. `lock` and `before_write` are there to make a wrong
    ledger: the lock around every call, and a function between a claim's reads and its writes.
    """

    def __init__(
        self,
        settings: QueueSettings | None = None,
        clock: Callable[[], float] = time.time,
        *,
        lock: AbstractContextManager[object] | None = None,
        before_write: Callable[[], object] = lambda: None,
    ) -> None:
        self.settings = settings or QueueSettings()
        self._clock = clock
        self._rows: dict[str, _Row] = {}
        self._dead: list[str] = []
        #: Dead letters whose images are not kept yet.
        self._unkept: list[str] = []
        #: The last turn of each queue that has a ready prediction, on the monotonic clock.
        self._turns: dict[tuple[Priority, str], float] = {}
        self._claims = 0
        self._workers: dict[str, tuple[float, bool]] = {}
        #: Times at which a prediction ended while others waited.
        self._drained: list[float] = []
        #: A `MemoryBatches` enters itself here.
        self.batches: Any = None
        self._lock = lock or threading.RLock()
        self._before_write = before_write

    def now(self) -> float:
        """The time in seconds since the epoch."""
        return self._clock()

    def predictions(self) -> list[Prediction]:
        """All predictions, the oldest first."""
        with self._lock:
            return [row.prediction for row in self._rows.values()]

    def check_capacity(
        self, size: int, key: str = "default", max_backlog: int | None = None
    ) -> None:
        with self._lock:
            live = self._live()
            if len(live) >= self.settings.max_backlog:
                raise QueueFull("too many predictions")
            if (
                max_backlog is not None
                and sum(row.prediction.key == key for row in live) >= max_backlog
            ):
                raise QueueFull("too many predictions of this key")
            live_bytes = sum(row.size for row in live)
            if live_bytes and live_bytes + size > self.settings.max_bytes:
                raise QueueFull("too many bytes")

    def create(
        self,
        prediction_id: str,
        submission: Submission,
        digest: str = "",
        size: int = 0,
        *,
        max_backlog: int | None = None,
    ) -> Created:
        with self._lock:
            if prediction_id in self._rows:
                prediction = self._rows[prediction_id].prediction
                if prediction.digest != digest:
                    raise IdReused("the id of another submission")
                return Created(prediction, False, 0)
            if submission.batch and not (self.batches and self.batches.takes(submission.batch)):
                raise Conflict("the batch takes no more predictions")
            self.check_capacity(size, submission.key, max_backlog)
            if submission.batch:
                self.batches.renew(submission.batch)
            now = self._clock()
            prediction = Prediction(
                id=prediction_id,
                status=Status.STARTING,
                created_at=now,
                digest=digest,
                **dict(submission),
            )
            within_s = min(self.settings.start_within_s, submission.start_within_s or float("inf"))
            self._rows[prediction_id] = _Row(prediction, size, now + within_s, due=now)
            self._refresh()
            return Created(
                prediction, True, sum(row.due is not None for row in self._rows.values())
            )

    def get(self, prediction_id: str, key: str | None = None) -> Prediction:
        with self._lock:
            row = self._rows.get(prediction_id)
            if row is None or (key is not None and row.prediction.key != key):
                raise NotFound("no such prediction")
            return row.prediction

    def cancel(self, prediction_id: str, key: str | None = None) -> Prediction:
        with self._lock:
            before = self.get(prediction_id, key).status
            if before.terminal:
                raise Conflict("the prediction has ended already")
            self._end(self._rows[prediction_id], Status.CANCELED, canceled_from=before)
            return self.get(prediction_id)

    def claim(self, owner: str, lease_s: float, *, alone: bool = False) -> Claim | None:
        with self._lock:
            now = self._clock()
            self._refresh()
            if not alone and self._live():
                self._claims += 1
            order = self._in_turn(alone=alone)
            self._before_write()
            for row in order:
                if not alone:
                    self._turns[row.queue] = time.monotonic()
                if row.deadline <= now:
                    row.due = float("inf")  # no claim takes it before a sweep aborts it
                    continue
                self._move(
                    row, Status.PROCESSING, started_at=now, attempts=row.prediction.attempts + 1
                )
                row.due, row.owner, row.lapses_at = None, owner, now + lease_s
                return Claim(prediction=row.prediction, owner=owner)
            return None

    def renew(self, claim: Claim, lease_s: float) -> None:
        with self._lock:
            self._owned(claim).lapses_at = self._clock() + lease_s

    def succeed(
        self, claim: Claim, output: Mapping[str, Any], metrics: Mapping[str, float], logs: str = ""
    ) -> None:
        with self._lock:
            check_size(json.dumps(output), self.settings.max_output_bytes)
            row = self._owned(claim)
            self._end(
                row,
                Status.SUCCEEDED,
                output=dict(output),
                metrics=dict(metrics),
                logs=_extended_logs(row, logs),
            )
            self._drain()

    def fail(
        self, claim: Claim, problem: Problem, metrics: Mapping[str, float], logs: str = ""
    ) -> None:
        with self._lock:
            row = self._owned(claim)
            self._end(
                row,
                Status.FAILED,
                error=problem,
                metrics=dict(metrics),
                logs=_extended_logs(row, logs),
            )
            self._drain()

    def requeue(self, claim: Claim, delay_s: float, *, retry: bool = True, logs: str = "") -> None:
        with self._lock:
            row = self._owned(claim)
            self._queue(
                row,
                self._clock() + delay_s,
                retries=row.prediction.retries + retry,
                logs=_extended_logs(row, logs),
            )

    def sweep(self) -> Swept:
        with self._lock:
            now, again, aborted = self._clock(), [], []
            for row in self._rows.values():
                if row.lapses_at is not None and row.lapses_at <= now:
                    (self._unkept if self._lapse(row, now) else again).append(row.prediction.id)
            for row in self._rows.values():
                if row.due is not None and row.deadline <= now:
                    self._end(row, Status.ABORTED, error=TOO_LATE)
                    aborted.append(row.prediction.id)
            if self.batches:
                self.batches.sweep()
            counts = len(self._ready()), len(self._in_turn(alone=True))
            self._refresh()
            digests = tuple(self._rows[name].prediction.digest for name in aborted)
            return Swept(
                tuple(again), tuple(self._unkept), tuple(aborted), *counts, digests=digests
            )

    def mark_image_kept(self, prediction_id: str) -> None:
        with self._lock:
            self._unkept = [name for name in self._unkept if name != prediction_id]

    def health(self) -> Health:
        return Health()

    def backlog(self) -> int:
        with self._lock:
            return len(self._live())

    def count_ahead(self, prediction_id: str) -> int | None:
        with self._lock:
            self._refresh()
            row = self._rows[prediction_id]
            if row.lone_lapses is not None or row.due is None or row.due > self._clock():
                return None
            order = sorted(
                self._ready(), key=lambda other: list(Priority).index(other.prediction.priority)
            )
            queues: dict[tuple[Priority, str], int] = {}
            rank = sum(other.queue == row.queue and other.place < row.place for other in order)
            for other in order:
                queues[other.queue] = queues.get(other.queue, 0) + 1
            ahead = rank
            for (priority, key), count in queues.items():
                if list(Priority).index(priority) < list(Priority).index(row.prediction.priority):
                    ahead += count
                elif priority is row.prediction.priority and key != row.prediction.key:
                    ahead += min(
                        count, rank + (self._turns[priority, key] < self._turns[row.queue])
                    )
            return ahead

    def heartbeat(self, worker: str, counts_s: float, *, troubled: bool = False) -> None:
        self._workers[worker] = self._clock() + counts_s, troubled

    def end_leases(self, worker: str) -> int:
        """Forget this worker and let its leases lapse now; return how many there were."""
        with self._lock:
            self._workers.pop(worker, None)
            rows = [row for row in self._rows.values() if row.lapses_at is not None]
            ended = [row for row in rows if str(row.owner).rpartition("/")[0] == worker]
            for row in ended:
                row.lapses_at = self._clock()
            return len(ended)

    def load(self) -> QueueLoad:
        with self._lock:
            now, live = self._clock(), self._live()
            oldest_s = max((now - row.prediction.created_at for row in live), default=0.0)
            running = sum(row.owner is not None for row in live)
            recent = [at for at in self._drained if now - at < 10]
            fill_ratio = max(
                len(live) / self.settings.max_backlog,
                sum(row.size for row in live) / self.settings.max_bytes,
            )
            alive = [troubled for until, troubled in self._workers.values() if until > now]
            return QueueLoad(
                len(live),
                running,
                len(alive),
                oldest_s,
                len(recent) / 10,
                fill_ratio,
                sum(alive),
            )

    def dead(self) -> list[Prediction]:
        with self._lock:
            return [self._rows[name].prediction for name in reversed(self._dead)]

    def _drain(self) -> None:
        if any(row.due is not None for row in self._rows.values()):
            self._drained.append(self._clock())

    def _live(self) -> list[_Row]:
        return [row for row in self._rows.values() if not row.prediction.status.terminal]

    def _ready(self) -> list[_Row]:
        now = self._clock()
        return [
            row
            for row in self._rows.values()
            if row.due is not None and row.due <= now and row.lone_lapses is None
        ]

    def _refresh(self) -> None:
        """A key without ready predictions has no turn; a key that has some again comes last."""
        ready = {row.queue for row in self._ready()}
        self._turns = {queue: at for queue, at in self._turns.items() if queue in ready}
        for row in sorted(self._ready(), key=lambda row: row.place):
            self._turns.setdefault(row.queue, time.monotonic())
        if not self._live():
            self._claims = 0

    def _in_turn(self, *, alone: bool) -> list[_Row]:
        now = self._clock()
        if alone:
            lone = [
                row
                for row in self._rows.values()
                if row.lone_lapses is not None and row.due is not None and row.due <= now
            ]
            return sorted(lone, key=lambda row: row.place)
        first = {0: Priority.LOW, 5: Priority.NORMAL}.get(self._claims % 10)
        order = ([first] if first else []) + [
            priority for priority in Priority if priority is not first
        ]
        if first is Priority.LOW:
            order = [Priority.LOW, Priority.NORMAL, Priority.HIGH]
        return sorted(
            self._ready(),
            key=lambda row: (
                order.index(row.prediction.priority),
                self._turns[row.queue],
                row.place,
            ),
        )

    def _lapse(self, row: _Row, now: float) -> bool:
        """Queue the prediction again; True where it had too many lapses and failed."""
        row.prediction = row.prediction.model_copy(
            update={
                "logs": _extended_logs(
                    row, f"attempt {row.prediction.attempts}: its worker fell silent"
                )
            }
        )
        if row.lone_lapses is None:
            row.lapses += 1
            row.lone_lapses = 0 if row.lapses >= self.settings.max_shared_lapses else None
        else:
            row.lone_lapses += 1
            if row.lone_lapses >= self.settings.max_lone_lapses:
                self._end(row, Status.FAILED, error=WORKER_LOST)
                self._dead.append(row.prediction.id)
                return True
        self._queue(row, now)
        return False

    def _move(self, row: _Row, status: Status, **fields: Any) -> None:
        check_transition(row.prediction.status, status)
        row.prediction = row.prediction.model_copy(update={"status": status, **fields})

    def _queue(self, row: _Row, due: float, **fields: Any) -> None:
        self._move(row, Status.STARTING, **fields)
        row.due, row.owner, row.lapses_at = due, None, None
        self._refresh()

    def _end(self, row: _Row, status: Status, **fields: Any) -> None:
        self._move(row, status, completed_at=self._clock(), **fields)
        row.due, row.owner, row.lapses_at = None, None, None
        self._refresh()

    def _owned(self, claim: Claim) -> _Row:
        row = self._rows.get(claim.prediction.id)
        if row is None or row.owner != claim.owner:
            raise LeaseLost("another attempt has the lease")
        return row
