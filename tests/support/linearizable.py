"""Whether calls on a ledger that overlapped may have been made one after the other: Wing and Gong's search, and its model.

A call may come next if none that is left had ended before it began, and if the model gives its answer there (Testing and
Verifying Concurrent Objects, 1993). What was tried is not tried again.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sluice.errors import Conflict, IdReused, LeaseLost, NotFound, QueueFull
from sluice.ledger.predictions import WORKER_LOST
from sluice.prediction import TRANSITIONS, Problem, Status
from sluice.settings import QueueSettings

IDS = "abc"
SETTINGS = QueueSettings(max_shared_lapses=1, max_lone_lapses=1, max_backlog=2)
PROBLEM = Problem(code="not_an_image", message="It is none.")
LAPSED, LONG = -1.0, 100.0  # leases; only a sweep acts on the first, nothing on the second


class Call(NamedTuple):
    """One method's call. `claim` counts back from the newest claim that any thread has, so that threads fight for one."""

    method: str
    id: str = ""
    digest: str = ""
    lease_s: float = LONG
    alone: bool = False
    claim: int = 0


class Event(NamedTuple):
    """A call as it went: `start` and `end` are places in the one order of all starts and ends. `id` and `owner` say which."""

    start: int
    end: int
    call: Call
    id: str
    owner: str
    answer: object


class Row(NamedTuple):
    """What the model knows of a prediction. `lapsed` is the lease's state, `result` says what its end gave."""

    status: Status
    digest: str
    owner: str | None = None
    lapsed: bool = False
    attempts: int = 0
    retries: int = 0
    alone: bool = False
    result: str | None = None

    def answer(self) -> object:
        return self.status, self.digest, self.attempts, self.retries, self.result

    def moved(self, status: Status, **fields: Any) -> "Row":
        assert status in TRANSITIONS[self.status]
        return self._replace(status=status, owner=None, lapsed=False)._replace(**fields)


State = tuple[Row | None, ...]  # a row for each of IDS


def possible(state: State, event: Event) -> Iterator[tuple[object, State]]:
    """Each answer that this call may get in this state, and the state after it."""
    call, rows = event.call, dict(zip(IDS, state, strict=True))

    def after(row: Row) -> State:
        return tuple((rows | {event.id: row}).values())

    row = rows.get(event.id)
    match call.method:
        case "create" if row is not None:
            yield (row.answer(), False) if row.digest == call.digest else IdReused, state
        case "create" if len(_live(state)) >= SETTINGS.max_backlog:
            yield QueueFull, state
        case "create":
            new = Row(Status.STARTING, call.digest)
            yield (new.answer(), True), after(new)
        case "get":
            yield row.answer() if row else NotFound, state
        case "cancel" if row is None or row.status.terminal:
            yield Conflict if row else NotFound, state
        case "renew" | "succeed" | "fail" | "requeue" if row is None or row.owner != event.owner:
            yield LeaseLost, state
        case "cancel" if row:
            canceled = row.moved(Status.CANCELED)
            yield canceled.answer(), after(canceled)
        case "claim":
            due = _due(state, alone=call.alone)
            for name, waiting in due.items():
                lapsed, attempts = call.lease_s == LAPSED, waiting.attempts + 1
                taken = waiting.moved(
                    Status.PROCESSING, owner=event.owner, lapsed=lapsed, attempts=attempts
                )
                yield (name, event.owner, taken.answer()), tuple((rows | {name: taken}).values())
            if not due:
                yield None, state
        case "renew" if row:
            yield None, after(row._replace(lapsed=call.lease_s == LAPSED))
        case "succeed" if row:
            yield None, after(row.moved(Status.SUCCEEDED, result=event.owner))
        case "fail" if row:
            yield None, after(row.moved(Status.FAILED, result=PROBLEM.code))
        case "requeue" if row:
            yield None, after(row.moved(Status.STARTING, retries=row.retries + 1))
        case "sweep":
            yield _swept(rows)
        case "backlog":
            yield len(_live(state)), state
        case "dead":
            yield (
                tuple(name for name, row in rows.items() if row and row.result == WORKER_LOST.code),
                state,
            )


def _swept(rows: dict[str, Row | None]) -> tuple[object, State]:
    """A lapse is one too many where the prediction ran alone; before that it is queued again, to run alone. A dead letter is named
    by every sweep from then on: these calls keep no image.
    """
    lapsed = {name: row for name, row in rows.items() if row and row.lapsed}
    for name, row in lapsed.items():
        lost = row.moved(Status.FAILED, result=WORKER_LOST.code)
        rows[name] = lost if row.alone else row.moved(Status.STARTING, alone=True)
    state = tuple(rows.values())
    again = tuple(name for name, row in lapsed.items() if not row.alone)
    dead = tuple(name for name, row in rows.items() if row and row.result == WORKER_LOST.code)
    return (again, dead, (), len(_due(state, alone=False)), len(_due(state, alone=True))), state


def _live(state: State) -> list[Row]:
    return [row for row in state if row and not row.status.terminal]


def _due(state: State, *, alone: bool) -> dict[str, Row]:
    rows = zip(IDS, state, strict=True)
    return {
        name: row
        for name, row in rows
        if row and row.status is Status.STARTING and row.alone is alone
    }


def linearizable(history: Sequence[Event]) -> bool:
    """Whether calls made one after the other, each between its start and its end, may have given these answers."""
    tried = set()

    def search(left: frozenset[int], state: State) -> bool:
        if not left:
            return True
        if (left, state) in tried:
            return False
        tried.add((left, state))
        until = min(history[number].end for number in left)
        return any(
            search(left - {number}, then)
            for number in left
            if history[number].start < until
            for answer, then in possible(state, history[number])
            if answer == history[number].answer
        )

    return search(frozenset(range(len(history))), (None,) * len(IDS))
