"""The contract of `History`, in Redis and in memory."""

import time
from dataclasses import dataclass

import pytest

from sluice.batch import BatchSubmission
from sluice.errors import InvalidInput
from sluice.ledger.batches import Batches, RedisBatches
from sluice.ledger.history import Filter, History, Page, Place, RedisHistory
from sluice.ledger.predictions import Ledger, RedisLedger
from sluice.prediction import Status, Submission
from sluice.settings import QueueSettings
from tests.fakes.batches import MemoryBatches
from tests.fakes.history import MemoryHistory
from tests.fakes.ledger import MemoryLedger
from tests.support.dead_letters import let_die

Both = tuple[Ledger, History]


@dataclass
class World:
    ledger: Ledger
    history: History
    batches: Batches


@pytest.fixture(params=["redis", "memory"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "memory":
        ledger = MemoryLedger()
        return World(ledger, MemoryHistory(ledger), MemoryBatches(ledger))
    client, settings = request.getfixturevalue("redis_client"), QueueSettings()
    return World(
        RedisLedger(client, settings),
        RedisHistory(client, "default"),
        RedisBatches(client, settings),
    )


@pytest.fixture
def both(world: World) -> Both:
    """A ledger, and the history of its predictions."""
    return world.ledger, world.history


def _fill(ledger: Ledger, prefix: str, count: int, **fields: str) -> list[str]:
    """Ids, the newest first."""
    names = [f"{prefix}{number:03}" for number in range(count)]
    for name in names:
        ledger.create(name, Submission(**{"model": "codes", **fields}))
        time.sleep(0.0002)
    return names[::-1]


def _ids(page: Page) -> list[str]:
    return [prediction.id for prediction in page.results]


def test_an_empty_history_is_one_empty_page(both: Both) -> None:
    assert both[1].page(["default"]) == Page([], None, None)


def test_pages_lead_to_the_oldest_prediction_and_back(both: Both) -> None:
    ledger, history = both
    names = _fill(ledger, "p", 25)
    pages = [history.page(["default"], limit=10)]
    while (cursor := pages[-1].next) is not None:
        pages.append(history.page(["default"], cursor, limit=10))
    assert [_ids(page) for page in pages] == [names[:10], names[10:20], names[20:]]
    assert pages[0].previous is None
    back = [pages[-1]]
    while (cursor := back[-1].previous) is not None:
        back.append(history.page(["default"], cursor, limit=10))
    assert [_ids(page) for page in back] == [names[20:], names[10:20], names[:10]]


def test_a_new_prediction_does_not_shift_the_pages_behind_a_cursor(both: Both) -> None:
    ledger, history = both
    names = _fill(ledger, "p", 6)
    first = history.page(["default"], limit=3)
    ledger.create("new", Submission(model="codes"))
    second = history.page(["default"], first.next, limit=3)
    assert _ids(second) == names[3:]
    back = history.page(["default"], second.previous, limit=3)
    assert _ids(back) == names[:3]
    assert back.previous is not None
    assert _ids(history.page(["default"], back.previous, limit=3)) == ["new"]


def test_the_history_is_filtered_by_status_model_and_time(both: Both) -> None:
    ledger, history = both
    _fill(ledger, "p", 3)
    other = _fill(ledger, "o", 3, model="other")
    ledger.cancel("p001")
    assert _ids(history.page(["default"], wanted=Filter(status=Status.CANCELED))) == ["p001"]
    assert _ids(history.page(["default"], wanted=Filter(model="other"))) == other
    since = ledger.get("o001").created_at
    assert _ids(history.page(["default"], wanted=Filter(since=since))) == other[:2]
    some = history.page(["default"], limit=1, wanted=Filter(model="other"))
    assert _ids(history.page(["default"], some.next, limit=1, wanted=Filter(model="other"))) == [
        "o001"
    ]


def test_the_history_of_a_key_leaves_out_other_keys_and_batches(world: World) -> None:
    ledger, history = world.ledger, world.history
    _fill(ledger, "p", 2)
    mine = _fill(ledger, "m", 2, key="mine")
    world.batches.open("b", BatchSubmission(model="codes", total=2, key="batches"))
    _fill(ledger, "b", 2, key="batches", batch="b")
    assert _ids(history.page(["mine"])) == mine
    assert _ids(history.page(["batches"])) == []


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "nonsense",
        "é",
        Place(True, 1.0, "a").cursor()[:-3],
        Place(True, float("nan"), "a").cursor(),
    ],
)
def test_a_cursor_that_no_page_gave_is_invalid_input(both: Both, cursor: str) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        both[1].page(["default"], cursor)


def test_the_histories_of_several_keys_are_merged(both: Both) -> None:
    ledger, history = both
    names = []
    for number in range(40):
        key = "mine" if number % 3 else "yours"
        names += _fill(ledger, f"n{number:02}-", 1, key=key)
    _fill(ledger, "x", 1, key="another")
    names.reverse()
    keys = ["mine", "yours", "nobody"]
    pages = [history.page(keys, limit=15)]
    while (cursor := pages[-1].next) is not None:
        pages.append(history.page(keys, cursor, limit=15))
    assert [_ids(page) for page in pages] == [names[:15], names[15:30], names[30:]]
    back = history.page(keys, pages[-1].previous, limit=15)
    assert _ids(back) == names[15:30]


def test_until_leaves_out_what_was_created_then_or_later(both: Both) -> None:
    ledger, history = both
    names = _fill(ledger, "p", 5)
    until = ledger.get(names[1]).created_at
    wanted = Filter(until=until)
    first = history.page(["default"], limit=2, wanted=wanted)
    assert _ids(first) == names[2:4]
    second = history.page(["default"], first.next, limit=2, wanted=wanted)
    assert _ids(second) == names[4:]
    assert _ids(history.page(["default"], second.previous, limit=2, wanted=wanted)) == names[2:4]


def test_dead_letters_are_listed_by_their_ends(both: Both) -> None:
    ledger, history = both
    assert history.dead() == Page([], None, None)
    for name in ("b", "a", "c"):
        ledger.create(name, Submission(model="codes", key=name))
        let_die(ledger, name)
    first = history.dead(limit=2)
    assert _ids(first) == ["c", "a"]
    second = history.dead(first.next, limit=2)
    assert (_ids(second), second.next) == (["b"], None)
    assert _ids(history.dead(second.previous, limit=2)) == ["c", "a"]
