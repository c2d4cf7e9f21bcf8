"""Wing and Gong's search for the linearizability of a ledger's history, and a ledger's model.

The search looks for an order of overlapping calls, one after the other, that explains every answer.
A call may come next under two conditions: no remaining call had ended before it began, and the
model gives the same answer. See Testing and Verifying Concurrent Objects, 1993. A set of remaining
calls with a state is tried only once.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sluice.errors import Conflict, IdReused, LeaseLost, NotFound, QueueFull
from sluice.ledger.answers import WORKER_LOST
from sluice.prediction import TRANSITIONS, Problem, Status
from sluice.settings import QueueSettings

IDS = "abc"
SETTINGS = QueueSettings(max_shared_lapses=1, max_lone_lapses=1, max_backlog=2)
PROBLEM = Problem(code="not_an_image", message="It is none.")
# Two leases in seconds: a sweep finds the first one lapsed, and never the second.
LAPSED, LONG = -1.0, 100.0


class Call(NamedTuple):
    """A call of one method."""

    method: str
    id: str = ""
    digest: str = ""
    lease_s: float = LONG
    alone: bool = False
    claim: int = 0
    """Counts back from the newest claim of any thread, so that threads compete for one."""


class Event(NamedTuple):
    """A call that was made."""

    start: int
    """The call's place in the one order of all starts and ends."""
    end: int
    call: Call
    id: str
    """The prediction that the call was about."""
    owner: str
    answer: object


class Row(NamedTuple):
    """A prediction in the model."""

    status: Status
    digest: str
    owner: str | None = None
    lapsed: bool = False
    """True once the lease has lapsed."""
    attempts: int = 0
    retries: int = 0
    alone: bool = False
    result: str | None = None
    """The owner that succeeded, or the error's code."""

    def answer(self) -> object:
        return self.status, self.digest, self.attempts, self.retries, self.result

    def moved(self, status: Status, **fields: Any) -> "Row":
        assert status in TRANSITIONS[self.status]
        return self._replace(status=status, owner=None, lapsed=False)._replace(**fields)


State = tuple[Row | None, ...]
"""A row for each of IDS."""


def possible(state: State, event: Event) -> Iterator[tuple[object, State]]:
    """Each answer that this call may get in this state, with the state after the call."""
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
    """A sweep's answer and the state after it.

    The first lapse queues the prediction again, to run alone; the second makes a dead letter. Every
    later sweep names the dead letter, since these calls keep no image.
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
    """True where calls made one after the other, each in its own span, may give these answers."""
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
