"""Random calls on several threads: every history of answers must be linearizable."""

import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sluice.errors import NotFound
from sluice.ledger.predictions import Ledger, RedisLedger
from sluice.prediction import Claim, Prediction, Status, Submission
from tests.fakes.ledger import MemoryLedger
from tests.support.linearizable import (
    IDS,
    LAPSED,
    LONG,
    PROBLEM,
    SETTINGS,
    Call,
    Event,
    linearizable,
)

MOST_THREADS = 4
PROGRAMS = 300
RUNS = 3  # of each program: threads meet differently every time


def run(
    before: Sequence[Call],
    threads: Sequence[Sequence[Call]],
    ledgers: Sequence[Ledger],
    pool: ThreadPoolExecutor,
) -> list[Event]:
    """The history of one run, with the state at its end.

    Each thread has its own ledger over one store.
    """
    clock, claims, history = itertools.count(), [], []
    barrier = threading.Barrier(len(threads))

    def make(ledger: Ledger, calls: Sequence[Call]) -> None:
        for call in calls:
            start = next(clock)
            claim = (
                claims[-1 - call.claim % len(claims)]
                if claims and call.method in _OF_A_CLAIM
                else None
            )
            if claim is None and call.method in _OF_A_CLAIM:
                continue
            owner = claim.owner if claim else f"owner-{start}"
            answer = _answer(ledger, call, claim, owner, claims)
            history.append(
                Event(
                    start,
                    next(clock),
                    call,
                    claim.prediction.id if claim else call.id,
                    owner,
                    answer,
                )
            )

    def at_once(ledger: Ledger, calls: Sequence[Call]) -> None:
        barrier.wait(timeout=30)
        make(ledger, calls)

    make(ledgers[0], before)
    list(pool.map(at_once, ledgers, threads))
    make(
        ledgers[0],
        [*(Call("get", name) for name in IDS), Call("backlog"), Call("sweep"), Call("dead")],
    )
    return history


_OF_A_CLAIM = ("renew", "succeed", "fail", "requeue")


def _answer(
    ledger: Ledger, call: Call, claim: Claim | None, owner: str, claims: list[Claim]
) -> object:
    """The answer without times, or the error's class: the model has no clock."""
    calls: dict[str, Callable[[], Any]] = {
        "create": lambda: ledger.create(call.id, Submission(model="codes"), call.digest, 100),
        "get": lambda: ledger.get(call.id),
        "cancel": lambda: ledger.cancel(call.id),
        "claim": lambda: ledger.claim(owner, call.lease_s, alone=call.alone),
        "renew": lambda: ledger.renew(claim, call.lease_s),
        "succeed": lambda: ledger.succeed(claim, {"by": owner}, {}),
        "fail": lambda: ledger.fail(claim, PROBLEM, {}),
        "requeue": lambda: ledger.requeue(claim, 0),
        "sweep": ledger.sweep,
        "backlog": ledger.backlog,
        "dead": lambda: tuple(sorted(letter.id for letter in ledger.dead())),
    }
    try:
        found = calls[call.method]()
    except Exception as error:  # the model allows some; any other fits no order
        return type(error)
    if isinstance(found, Claim):
        claims.append(found)
        return found.prediction.id, found.owner, _record(found.prediction)
    if call.method == "create":
        return _record(found[0]), found[1]
    if call.method == "sweep":
        ids = (tuple(sorted(ids)) for ids in (found.requeued, found.dead, found.aborted))
        return *ids, found.due, found.due_alone
    return _record(found) if isinstance(found, Prediction) else found


def _record(prediction: Prediction) -> object:
    result = (
        prediction.output["by"]
        if prediction.output
        else prediction.error.code
        if prediction.error
        else None
    )
    return prediction.status, prediction.digest, prediction.attempts, prediction.retries, result


def _told(history: Sequence[Event]) -> str:
    lines = (
        f"{event.start}-{event.end} {event.call} of {event.id} by {event.owner}: {event.answer}"
        for event in sorted(history)
    )
    return "\n".join(["no order of these calls gives these answers:", *lines])


def _calls(*methods: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Call]:
    return st.fixed_dictionaries({"method": st.sampled_from(methods), **fields}).map(
        lambda drawn: Call(**drawn)
    )


_ID, _LEASE_S = st.sampled_from(IDS), st.sampled_from([LAPSED, LONG])
_CALL = st.one_of(
    _calls("create", id=_ID, digest=st.sampled_from(["d1", "d1", "d2"])),
    _calls("get", "cancel", id=_ID),
    _calls("claim", lease_s=_LEASE_S, alone=st.sampled_from([False, False, True])),
    _calls(*_OF_A_CLAIM, lease_s=_LEASE_S, claim=st.integers(0, 1)),
    _calls(*_OF_A_CLAIM, lease_s=_LEASE_S, claim=st.integers(0, 1)),
    _calls("sweep", "sweep", "backlog", "dead"),
)
_THREAD = st.lists(_CALL, min_size=1, max_size=4)
_PROGRAM = st.tuples(
    st.lists(_CALL, max_size=5), st.lists(_THREAD, min_size=2, max_size=MOST_THREADS)
)
_FIRST = [
    Call("create", "a", "d1"),
    Call("create", "b", "d1"),
    Call("claim", lease_s=LAPSED),
]  # or most calls would find nothing


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Let threads take turns as often as possible."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    with ThreadPoolExecutor(MOST_THREADS) as threads:
        yield threads
    sys.setswitchinterval(interval)


def _histories(
    fresh: Callable[[], Sequence[Ledger]], pool: ThreadPoolExecutor, programs: int
) -> Iterator[list[Event]]:
    """The histories of random programs, each on ledgers over an empty store."""
    histories: list[list[Event]] = []

    @settings(max_examples=programs, phases=[Phase.generate])
    @given(_PROGRAM)
    def draw(program: tuple[list[Call], list[list[Call]]]) -> None:
        before, threads = program
        histories.extend(run(_FIRST + before, threads, fresh(), pool) for _ in range(RUNS))

    draw()
    yield from histories


@pytest.mark.parametrize("kind", ["redis", "memory"])
def test_concurrent_calls_are_linearizable(
    kind: str, request: pytest.FixtureRequest, pool: ThreadPoolExecutor
) -> None:
    fresh, stack = _memory, contextlib.ExitStack()
    if kind == "redis":
        url, client = request.getfixturevalue("redis_url"), request.getfixturevalue("redis_client")
        ledgers = [
            RedisLedger(stack.enter_context(redis.Redis.from_url(url)), SETTINGS)
            for _ in range(MOST_THREADS)
        ]

        def fresh() -> Sequence[Ledger]:
            client.flushall()
            return ledgers

    with stack:
        for history in _histories(fresh, pool, PROGRAMS):
            assert linearizable(history), _told(history)


def _memory() -> Sequence[Ledger]:
    return [MemoryLedger(SETTINGS)] * MOST_THREADS


def _torn() -> Sequence[Ledger]:
    """A wrong ledger: without a lock, it reads, waits, and writes."""

    def late() -> float:
        time.sleep(0.0002)
        return time.time()

    ledger = MemoryLedger(SETTINGS, late, lock=contextlib.nullcontext(), before_write=late)
    return [ledger] * MOST_THREADS


def test_a_ledger_that_is_not_atomic_is_found(pool: ThreadPoolExecutor) -> None:
    histories = _histories(_torn, pool, PROGRAMS // 10)
    assert not all(map(linearizable, histories))


_WAITS = (Status.STARTING, "d1", 0, 0, None)
_RUNS = (Status.PROCESSING, "d1", 1, 0, None)
_CREATED = Event(0, 1, Call("create", "a", "d1"), "a", "", (_WAITS, True))
_CLAIMED = Event(2, 3, Call("claim"), "", "w1", ("a", "w1", _RUNS))


_HISTORIES = {
    "claimed twice": (
        [_CREATED, _CLAIMED, _CLAIMED._replace(owner="w2", answer=("a", "w2", _RUNS))],
        False,
    ),
    "one claim too late": ([_CREATED, _CLAIMED, _CLAIMED._replace(owner="w2", answer=None)], True),
    "looked up meanwhile": (
        [_CREATED, _CREATED._replace(call=Call("get", "a"), answer=NotFound)],
        True,
    ),
    "looked up afterwards": ([_CREATED, Event(2, 3, Call("get", "a"), "a", "", NotFound)], False),
    "one end": ([_CREATED, _CLAIMED, Event(4, 5, Call("succeed"), "a", "w1", None)], True),
    "two ends": (
        [
            _CREATED,
            _CLAIMED,
            Event(4, 6, Call("succeed"), "a", "w1", None),
            Event(5, 7, Call("cancel", "a"), "a", "", (Status.CANCELED, *_RUNS[1:])),
        ],
        False,
    ),
    "given back and lost": (
        [
            _CREATED,
            _CLAIMED,
            Event(4, 5, Call("requeue"), "a", "w1", None),
            Event(6, 7, Call("sweep"), "", "", ((), (), (), 0, 0)),
        ],
        False,
    ),
    "an error that no call has": ([_CREATED._replace(answer=ValueError)], False),
}


@pytest.mark.parametrize(("history", "possible"), _HISTORIES.values(), ids=_HISTORIES)
def test_the_search_tells_linearizable_histories_from_others(
    history: list[Event], possible: bool
) -> None:
    assert linearizable(history) is possible
