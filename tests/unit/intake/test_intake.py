"""The order of the steps of accepting is the promise."""

from collections.abc import Callable
from typing import Any

import pytest

from sluice.blobs.store import input_key
from sluice.errors import BlobsUnavailable, IdReused, NotFound, QueueFull, RedisUnavailable
from sluice.ids import new_id
from sluice.intake.intake import Intake
from sluice.ledger.answers import Created
from sluice.prediction import Prediction, Status, Submission, digest
from sluice.settings import QueueSettings
from tests.fakes.blobs import MemoryBlobs
from tests.fakes.doorbell import CountingDoorbell
from tests.fakes.ledger import MemoryLedger

PLAIN = Submission(model="codes")
KEY = input_key("a", digest(b"image", PLAIN))


def _intake(
    ledger: MemoryLedger, blobs: MemoryBlobs, doorbell: CountingDoorbell | None = None
) -> Intake:
    return Intake(ledger, blobs, doorbell or CountingDoorbell(), blob_ttl_s=1000, orphan_ttl_s=10)


class Lost(MemoryLedger):
    """Records a prediction, and then does not answer in time."""

    def create(self, *args: Any, **options: Any) -> Created:
        super().create(*args, **options)
        raise RedisUnavailable("Redis did not answer in time")


class Overtaken(MemoryLedger):
    """Calls `meanwhile` after a prediction is recorded and before the answer."""

    def __init__(
        self, meanwhile: Callable[[], object], settings: QueueSettings | None = None
    ) -> None:
        super().__init__(settings)
        self._meanwhile = meanwhile

    def create(self, *args: Any, **options: Any) -> Created:
        created = super().create(*args, **options)
        self._meanwhile()
        return created


class Hiding(MemoryLedger):
    """Has no record for the next `hidden` looks, as if the prediction were recorded later."""

    hidden = 0
    full = False
    """Refuse every new record, also one of a prediction that is recorded."""

    def get(self, prediction_id: str, key: str | None = None) -> Prediction:
        if self.hidden:
            self.hidden -= 1
            raise NotFound("hidden")
        return super().get(prediction_id, key)

    def create(self, *args: Any, **options: Any) -> Created:
        if self.full:
            raise QueueFull("full")
        return super().create(*args, **options)


def test_an_accepted_prediction_is_stored_recorded_and_rung_for() -> None:
    ledger, blobs, doorbell = MemoryLedger(), MemoryBlobs(), CountingDoorbell()
    intake = _intake(ledger, blobs, doorbell)
    new = intake.accept_new(b"image", PLAIN)
    assert ledger.get(new.id) == new
    assert blobs.get(input_key(new.id, "")) == b"image"
    assert doorbell.rings == 1
    named = intake.accept_named("a", b"image", PLAIN)
    assert ledger.get("a") == named
    assert blobs.get(KEY) == b"image"
    assert doorbell.rings == 2
    assert intake.accept_named("a", b"image", PLAIN) == named
    assert doorbell.rings == 2, "a repetition changes nothing"


def test_a_broker_that_is_unavailable_does_not_refuse_a_prediction() -> None:
    ledger = MemoryLedger()
    doorbell = CountingDoorbell(errors=[RedisUnavailable("away")])
    prediction = _intake(ledger, MemoryBlobs(), doorbell).accept_new(b"image", PLAIN)
    assert ledger.get(prediction.id).status is Status.STARTING
    assert doorbell.rings == 0


def test_an_image_without_a_record_expires_soon_and_one_with_a_record_stays() -> None:
    now = [0.0]
    blobs = MemoryBlobs(lambda: now[0])
    with pytest.raises(RedisUnavailable):
        _intake(Lost(), blobs).accept_new(b"image", PLAIN)
    assert [data for data, _ in blobs._blobs.values()] == [b"image"], "it may be on record"
    now[0] = 11
    assert not any(map(blobs.get, blobs._blobs))
    _intake(MemoryLedger(), blobs).accept_named("a", b"image", PLAIN)
    now[0] = 900
    assert blobs.get(KEY) == b"image"


def test_a_repetition_repairs_a_call_whose_answer_was_lost() -> None:
    now = [0.0]
    ledger, blobs = Lost(), MemoryBlobs(lambda: now[0])
    with pytest.raises(RedisUnavailable):
        _intake(ledger, blobs).accept_named("a", b"image", PLAIN)
    assert _intake(ledger, blobs).accept_named("a", b"image", PLAIN).id == "a"
    now[0] = 900
    assert blobs.get(KEY) == b"image"
    assert ledger.backlog() == 1


def test_a_prediction_whose_image_can_not_be_stored_is_not_accepted() -> None:
    class Flaky(MemoryBlobs):
        def put(self, key: str, data: bytes, ttl_s: int) -> None:
            raise BlobsUnavailable("away")

    ledger = MemoryLedger()
    with pytest.raises(BlobsUnavailable):
        _intake(ledger, Flaky()).accept_new(b"image", PLAIN)
    with pytest.raises(BlobsUnavailable):
        _intake(ledger, Flaky()).accept_named("a", b"image", PLAIN)
    assert ledger.backlog() == 0


def test_a_race_for_an_id_keeps_the_winners_image() -> None:
    """The loser has looked before the winner was on record."""
    ledger, blobs = Hiding(), MemoryBlobs()
    intake = _intake(ledger, blobs)
    winner = intake.accept_new(b"image", PLAIN).id
    ledger.hidden = 1
    with pytest.raises(IdReused):
        intake.accept_named(winner, b"another", PLAIN)
    assert [data for data, _ in blobs._blobs.values()] == [b"image"]


def test_an_image_that_a_repetition_stores_after_the_end_is_deleted() -> None:
    """The repetition looks before the record, and stores its image after the end."""
    ledger, blobs = Hiding(), MemoryBlobs()
    intake = _intake(ledger, blobs)
    intake.accept_named("a", b"image", PLAIN)
    intake.cancel("a")
    assert not blobs._blobs
    ledger.hidden = 1
    assert intake.accept_named("a", b"image", PLAIN).status is Status.CANCELED
    assert not blobs._blobs


def test_a_refusal_leaves_no_image() -> None:
    blobs = MemoryBlobs()
    intake = _intake(MemoryLedger(QueueSettings(max_backlog=1)), blobs)
    intake.accept_new(b"image", PLAIN)
    with pytest.raises(QueueFull):
        intake.accept_new(b"image", PLAIN)
    assert len(blobs._blobs) == 1


def test_ids_are_in_the_form_of_the_interface() -> None:
    ids = {new_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(
        len(name) == 26 and set(name) <= set("abcdefghijklmnopqrstuvwxyz234567") for name in ids
    )


def test_an_image_that_a_refused_repetition_deleted_is_restored() -> None:
    blobs = MemoryBlobs()
    ledger = Overtaken(lambda: blobs.delete(KEY))
    assert _intake(ledger, blobs).accept_named("a", b"image", PLAIN).status is Status.STARTING
    assert blobs.get(KEY) == b"image"


def test_an_image_that_its_worker_deleted_is_not_restored() -> None:
    blobs = MemoryBlobs()

    def end() -> None:
        claim = ledger.claim("w", 10)
        assert claim is not None
        ledger.succeed(claim, {}, {})
        blobs.delete(KEY)

    ledger = Overtaken(end)
    _intake(ledger, blobs).accept_named("a", b"image", PLAIN)
    assert blobs.get(KEY) is None


def test_a_refused_repetition_leaves_the_image_of_a_recorded_prediction() -> None:
    ledger, blobs = Hiding(), MemoryBlobs()
    intake = _intake(ledger, blobs)
    intake.accept_named("a", b"image", PLAIN)
    ledger.hidden, ledger.full = 1, True
    with pytest.raises(QueueFull):
        intake.accept_named("a", b"image", PLAIN)
    assert blobs.get(KEY) == b"image"
    with pytest.raises(QueueFull):
        intake.accept_named("b", b"another", PLAIN)
    assert len(blobs._blobs) == 1
    assert ledger.get("a").id == "a"
