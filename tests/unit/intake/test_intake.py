"""The order of taking in is the promise."""

from collections.abc import Callable
from typing import Any

import pytest

from sluice.blobs.store import input_key
from sluice.errors import BlobsUnavailable, IdReused, QueueFull, RedisUnavailable
from sluice.ids import new_id
from sluice.intake.intake import Intake
from sluice.ledger.predictions import Created
from sluice.prediction import Status, Submission, digest
from sluice.settings import QueueSettings
from tests.fakes.blobs import MemoryBlobs
from tests.fakes.doorbell import CountingDoorbell
from tests.fakes.ledger import MemoryLedger

PLAIN = Submission(model="codes")
KEY = input_key("a", digest(b"image", PLAIN))


def _intake(ledger: MemoryLedger, blobs: MemoryBlobs) -> Intake:
    return Intake(ledger, blobs, CountingDoorbell(), blob_ttl_s=1000, orphan_ttl_s=10)


class Lost(MemoryLedger):
    """Records, and then does not answer in time."""

    def create(self, *args: Any, **options: Any) -> Created:
        super().create(*args, **options)
        raise RedisUnavailable("Redis did not answer in time")


def test_an_image_without_a_record_goes_soon_and_one_with_a_record_stays() -> None:
    now = [0.0]
    blobs = MemoryBlobs(lambda: now[0])
    with pytest.raises(RedisUnavailable):
        _intake(Lost(), blobs).accept(b"image", PLAIN)
    assert [data for data, _ in blobs._blobs.values()] == [b"image"], "it may be on record"
    now[0] = 11
    assert not any(map(blobs.get, blobs._blobs))
    _intake(MemoryLedger(), blobs).accept(b"image", PLAIN, "a")
    now[0] = 900
    assert blobs.get(KEY) == b"image"


def test_whoever_comes_again_makes_up_for_an_answer_that_was_lost() -> None:
    now = [0.0]
    ledger, blobs = Lost(), MemoryBlobs(lambda: now[0])
    with pytest.raises(RedisUnavailable):
        _intake(ledger, blobs).accept(b"image", PLAIN, "a")
    assert _intake(ledger, blobs).accept(b"image", PLAIN, "a").id == "a"
    now[0] = 900
    assert blobs.get(KEY) == b"image"
    assert ledger.backlog() == 1


def test_an_image_that_can_not_be_kept_is_not_accepted() -> None:
    class Flaky(MemoryBlobs):
        def put(self, key: str, data: bytes, ttl_s: int) -> None:
            raise BlobsUnavailable("away")

    with pytest.raises(BlobsUnavailable):
        _intake(MemoryLedger(), Flaky()).accept(b"image", PLAIN)


def test_a_race_for_an_id_keeps_the_winners_image() -> None:
    """The loser has looked before the winner was on record."""
    ledger, blobs = MemoryLedger(), MemoryBlobs()
    intake = _intake(ledger, blobs)
    intake.accept(b"image", PLAIN, None)
    (winner,) = (prediction.id for prediction in ledger.predictions())
    intake._known = lambda *_: None  # type: ignore[method-assign]  # as if it had not been there yet
    with pytest.raises(IdReused):
        intake.accept(b"another", PLAIN, winner)
    assert [data for data, _ in blobs._blobs.values()] == [b"image"]


def test_a_repetition_that_overtakes_the_end_leaves_no_image() -> None:
    """The prediction is not there when it looks, and has ended by the time that it has put the image."""
    ledger, blobs = MemoryLedger(), MemoryBlobs()
    intake = _intake(ledger, blobs)
    intake.accept(b"image", PLAIN, "a")
    intake.cancel("a")
    assert not blobs._blobs
    intake._known = lambda *_: None  # type: ignore[method-assign]
    assert intake.accept(b"image", PLAIN, "a").status is Status.CANCELED
    assert not blobs._blobs


def test_a_refusal_leaves_nothing() -> None:
    blobs = MemoryBlobs()
    intake = _intake(MemoryLedger(QueueSettings(max_backlog=1)), blobs)
    intake.accept(b"image", PLAIN)
    with pytest.raises(QueueFull):
        intake.accept(b"image", PLAIN)
    assert len(blobs._blobs) == 1


def test_ids_are_in_the_form_of_the_interface() -> None:
    ids = {new_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(
        len(name) == 26 and set(name) <= set("abcdefghijklmnopqrstuvwxyz234567") for name in ids
    )


class Overtaken(MemoryLedger):
    """While it records, or refuses, something else happens first."""

    def __init__(
        self, meanwhile: Callable[[], object], settings: QueueSettings | None = None
    ) -> None:
        super().__init__(settings)
        self._meanwhile = meanwhile

    def create(self, *args: Any, **options: Any) -> Created:
        created = super().create(*args, **options)
        self._meanwhile()
        return created


def test_an_image_that_a_refused_repetition_took_away_is_put_back() -> None:
    blobs = MemoryBlobs()
    ledger = Overtaken(lambda: blobs.delete(KEY))
    assert _intake(ledger, blobs).accept(b"image", PLAIN, "a").status is Status.STARTING
    assert blobs.get(KEY) == b"image"


def test_an_image_that_its_worker_took_away_is_not() -> None:
    blobs = MemoryBlobs()

    def end() -> None:
        claim = ledger.claim("w", 10)
        assert claim is not None
        ledger.succeed(claim, {}, {})
        blobs.delete(KEY)

    ledger = Overtaken(end)
    _intake(ledger, blobs).accept(b"image", PLAIN, "a")
    assert blobs.get(KEY) is None


def test_a_repetition_that_is_refused_leaves_the_image_of_what_is_on_record() -> None:
    ledger, blobs = MemoryLedger(QueueSettings(max_backlog=1)), MemoryBlobs()
    intake = _intake(ledger, blobs)
    intake.accept(b"image", PLAIN, "a")
    known, intake._known = intake._known, lambda *_: None  # type: ignore[method-assign]  # it had not been there yet

    def full(*_: Any, **__: Any) -> Created:
        raise QueueFull("full")

    ledger.create = full  # type: ignore[method-assign]  # nor was there room
    with pytest.raises(QueueFull):
        intake.accept(b"image", PLAIN, "a")
    assert blobs.get(KEY) == b"image"
    with pytest.raises(QueueFull):
        intake.accept(b"another", PLAIN, "b")
    assert len(blobs._blobs) == 1
    assert known("a", digest(b"image", PLAIN))
