"""In-memory versions of the outside systems. They enter by constructors, and pass the same contract tests as the real ones."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sluice.errors import Conflict, IdReused, LeaseLost, NotFound, QueueFull
from sluice.history import EVERYTHING, Filter, Page, Place
from sluice.ledger import TOO_LATE, WORKER_LOST, Created, Load, Swept, check_size
from sluice.prediction import Claim, Prediction, Priority, Problem, Status, Submission, check_transition
from sluice.queue import ENOUGH
from sluice.ratelimit import too_fast
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

    @property
    def queue(self) -> tuple[Priority, str]:
        return self.prediction.priority, self.prediction.key

    @property
    def place(self) -> tuple[float, str]:
        """In its queue."""
        return self.due or 0.0, self.prediction.id


def _more(row: _Row, logs: str) -> str:
    return f"{row.prediction.logs}{logs}\n" if logs else row.prediction.logs


class MemoryLedger:
    """`clock` gives seconds since the epoch. Keeps everything: retention is Redis's business."""

    def __init__(self, settings: Queue | None = None, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings or Queue()
        self._clock = clock
        self._rows: dict[str, _Row] = {}
        self._dead: list[str] = []
        self._unkept: list[str] = []  # those of them whose images are not kept yet
        self._turns: dict[tuple[Priority, str], float] = {}  # when a key that has something ready last had its turn
        self._claims = 0
        self._workers: dict[str, float] = {}
        self._drained: list[float] = []  # when something ended while others waited
        self.batches: Any = None  # a `MemoryBatches` enters itself here
        self._lock = threading.RLock()

    def room(self, size: int, key: str = "default", max_backlog: int | None = None) -> None:
        with self._lock:
            live = self._live()
            if len(live) >= self._settings.max_backlog:
                raise QueueFull("too many predictions")
            if max_backlog is not None and sum(row.prediction.key == key for row in live) >= max_backlog:
                raise QueueFull("too many predictions of this key")
            held = sum(row.size for row in live)
            if held and held + size > self._settings.max_bytes:
                raise QueueFull("too many bytes")

    def create(
        self, prediction_id: str, submission: Submission, digest: str = "", size: int = 0, *, max_backlog: int | None = None
    ) -> Created:
        with self._lock:
            if prediction_id in self._rows:
                found = self._rows[prediction_id].prediction
                if found.digest != digest:
                    raise IdReused("another submission's")
                return Created(found, False, 0)
            if submission.batch and not (self.batches and self.batches.takes(submission.batch)):
                raise Conflict("its batch takes no more")
            self.room(size, submission.key, max_backlog)
            if submission.batch:
                self.batches.renew(submission.batch)
            now = self._clock()
            prediction = Prediction(id=prediction_id, status=Status.STARTING, created_at=now, digest=digest, **dict(submission))
            within_s = min(self._settings.start_within_s, submission.start_within_s or float("inf"))
            self._rows[prediction_id] = _Row(prediction, size, now + within_s, due=now)
            self._refresh()
            return Created(prediction, True, sum(row.due is not None for row in self._rows.values()))

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
                raise Conflict("has ended already")
            self._end(self._rows[prediction_id], Status.CANCELED, canceled_from=before)
            return self.get(prediction_id)

    def claim(self, owner: str, lease_s: float, *, alone: bool = False) -> Claim | None:
        with self._lock:
            now = self._clock()
            self._refresh()
            if not alone and self._live():
                self._claims += 1
            for row in self._in_turn(alone=alone):
                if not alone:
                    self._turns[row.queue] = time.monotonic()
                if row.deadline <= now:
                    row.due = float("inf")  # passed over until a sweep aborts it
                    continue
                self._move(row, Status.PROCESSING, started_at=now, attempts=row.prediction.attempts + 1)
                row.due, row.owner, row.lapses_at = None, owner, now + lease_s
                return Claim(prediction=row.prediction, owner=owner)
            return None

    def renew(self, claim: Claim, lease_s: float) -> None:
        with self._lock:
            self._owned(claim).lapses_at = self._clock() + lease_s

    def succeed(self, claim: Claim, output: Mapping[str, Any], metrics: Mapping[str, float], logs: str = "") -> None:
        with self._lock:
            check_size(json.dumps(output), self._settings.max_output_bytes)
            row = self._owned(claim)
            self._end(row, Status.SUCCEEDED, output=dict(output), metrics=dict(metrics), logs=_more(row, logs))
            self._drain()

    def fail(self, claim: Claim, problem: Problem, metrics: Mapping[str, float], logs: str = "") -> None:
        with self._lock:
            row = self._owned(claim)
            self._end(row, Status.FAILED, error=problem, metrics=dict(metrics), logs=_more(row, logs))
            self._drain()

    def requeue(self, claim: Claim, delay_s: float, *, retry: bool = True, logs: str = "") -> None:
        with self._lock:
            row = self._owned(claim)
            self._queue(row, self._clock() + delay_s, retries=row.prediction.retries + retry, logs=_more(row, logs))

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
            return Swept(tuple(again), tuple(self._unkept), tuple(aborted), *counts, digests=digests)

    def image_kept(self, prediction_id: str) -> None:
        with self._lock:
            self._unkept = [name for name in self._unkept if name != prediction_id]

    def backlog(self) -> int:
        with self._lock:
            return len(self._live())

    def ahead(self, prediction_id: str) -> int | None:
        with self._lock:
            self._refresh()
            row = self._rows[prediction_id]
            if row.lone_lapses is not None or row.due is None or row.due > self._clock():
                return None
            order = sorted(self._ready(), key=lambda other: list(Priority).index(other.prediction.priority))
            queues: dict[tuple[Priority, str], int] = {}
            rank = sum(other.queue == row.queue and other.place < row.place for other in order)
            for other in order:
                queues[other.queue] = queues.get(other.queue, 0) + 1
            found = rank
            for (priority, key), count in queues.items():
                if list(Priority).index(priority) < list(Priority).index(row.prediction.priority):
                    found += count
                elif priority is row.prediction.priority and key != row.prediction.key:
                    found += min(count, rank + (self._turns[priority, key] < self._turns[row.queue]))
            return found

    def beat(self, worker: str, counts_s: float) -> None:
        self._workers[worker] = self._clock() + counts_s

    def load(self) -> Load:
        with self._lock:
            now, live = self._clock(), self._live()
            oldest_s = max((now - row.prediction.created_at for row in live), default=0.0)
            running = sum(row.owner is not None for row in live)
            recent = [at for at in self._drained if now - at < 10]
            full = max(len(live) / self._settings.max_backlog, sum(row.size for row in live) / self._settings.max_bytes)
            return Load(len(live), running, sum(until > now for until in self._workers.values()), oldest_s, len(recent) / 10, full)

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
        return [row for row in self._rows.values() if row.due is not None and row.due <= now and row.lone_lapses is None]

    def _refresh(self) -> None:
        """A key with nothing ready has no turn; one that has something again comes last."""
        ready = {row.queue for row in self._ready()}
        self._turns = {queue: at for queue, at in self._turns.items() if queue in ready}
        for row in sorted(self._ready(), key=lambda row: row.place):
            self._turns.setdefault(row.queue, time.monotonic())
        if not self._live():
            self._claims = 0

    def _in_turn(self, *, alone: bool) -> list[_Row]:
        now = self._clock()
        if alone:
            lone = [row for row in self._rows.values() if row.lone_lapses is not None and row.due is not None and row.due <= now]
            return sorted(lone, key=lambda row: row.place)
        first = {0: Priority.LOW, 5: Priority.NORMAL}.get(self._claims % 10)
        order = ([first] if first else []) + [priority for priority in Priority if priority is not first]
        if first is Priority.LOW:
            order = [Priority.LOW, Priority.NORMAL, Priority.HIGH]
        return sorted(self._ready(), key=lambda row: (order.index(row.prediction.priority), self._turns[row.queue], row.place))

    def _lapse(self, row: _Row, now: float) -> bool:
        """Whether that was one too many."""
        row.prediction = row.prediction.model_copy(
            update={"logs": _more(row, f"attempt {row.prediction.attempts}: its worker fell silent")}
        )
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
            raise LeaseLost("no longer this attempt's")
        return row


class MemoryHistory:
    """Of what is in a `MemoryLedger`."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger

    def page(self, key: str, cursor: str | None = None, limit: int = 50, wanted: Filter = EVERYTHING) -> Page:
        place = Place.parse(cursor) if cursor else Place(True, float("inf"), "")
        found = [row.prediction for row in self._ledger._rows.values() if _wanted(row.prediction, key, wanted)]
        found.sort(key=lambda one: (one.created_at, one.id), reverse=True)
        beyond = [one for one in found if _is_beyond(one, place)]
        results = beyond[:limit] if place.older else beyond[-limit:]
        more = len(beyond) > limit
        if not results:
            return Page([], None, None)
        newer = Place(False, results[0].created_at, results[0].id).cursor()
        older = Place(True, results[-1].created_at, results[-1].id).cursor()
        if place.older:
            return Page(results, newer if cursor else None, older if more else None)
        return Page(results, newer if more else None, older)


def _wanted(one: Prediction, key: str, wanted: Filter) -> bool:
    passes = wanted.status in (None, one.status) and wanted.model in (None, one.model) and one.created_at >= (wanted.since or 0)
    return passes and one.key == key and one.batch is None


def _is_beyond(one: Prediction, place: Place) -> bool:
    here = (one.created_at, one.id)
    return here < place[1:] if place.older else here > place[1:]


class MemoryBlobs:
    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._blobs: dict[str, tuple[bytes, float]] = {}

    def put(self, key: str, data: bytes, ttl_s: int) -> None:
        self._blobs[key] = (data, self._clock() + ttl_s)

    def get(self, key: str) -> bytes | None:
        data, until = self._blobs.get(key, (None, 0.0))
        return data if until > self._clock() else None

    def keep(self, key: str, ttl_s: int) -> bool:
        if self.get(key) is None:
            return False
        self.put(key, self._blobs[key][0], ttl_s)
        return True

    def delete(self, *keys: str) -> None:
        for key in keys:
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


class MemoryRateLimiter:
    """`clock_us` gives whole microseconds since the epoch. A level is a caller's, in whole billionths, and when it was so."""

    def __init__(self, clock_us: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self._clock_us = clock_us
        self._levels: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def take(self, name: str, rate_per_s: float, burst: int) -> None:
        with self._lock:
            now, per_s = self._clock_us(), round(rate_per_s * 1000)
            level, at = self._levels.get(name, (0, now))
            level = max(0, level - max(0, now - at) * per_s)
            over = level + 10**9 - burst * 10**9
            if over <= 0 or now < at:
                self._levels[name] = (level if over > 0 else level + 10**9, now)
            if over > 0:
                raise too_fast(rate_per_s, -(-over // per_s) / 1_000_000)
