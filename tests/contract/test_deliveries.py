"""The contract of `Deliveries`, in Redis and in memory."""

import time

import pytest

from sluice.delivery import (
    AttemptOutcome,
    AttemptResult,
    ClaimedDeliveries,
    DeliveryStatus,
)
from sluice.errors import Conflict, Gone, NotFound
from sluice.settings import WebhooksSettings
from tests.support.deliveries import RECORD, URL, World, due_after, make, names, names_of_dead

OTHER = "https://b.example/hook"


@pytest.fixture
def world(kind: str, request: pytest.FixtureRequest) -> World:
    return make(kind, request, WebhooksSettings())


def test_a_delivery_is_claimed_once_and_delivered(world: World) -> None:
    world.file("a", "completed", key="camera")
    assert world.deliveries.waiting() == 1
    assert world.states("a") == [DeliveryStatus.WAITING]
    (outgoing,) = world.claim()
    delivery = outgoing.delivery
    assert (delivery.id, delivery.kind, delivery.subject_id, delivery.event) == (
        "a_completed",
        "prediction",
        "a",
        "completed",
    )
    assert (delivery.url, delivery.key, delivery.attempts) == (URL, "camera", 1)
    assert outgoing.body is None
    assert outgoing.source.items() >= RECORD.items()
    assert abs(outgoing.at - time.time()) < 60
    assert world.claim() == ()
    assert world.states("a") == [DeliveryStatus.SENDING]
    assert world.settle(outgoing, AttemptResult.DELIVERED)
    (ended,) = world.deliveries.deliveries_for("prediction", "a")
    assert ended.status is DeliveryStatus.DELIVERED
    assert [(attempt.status, attempt.answer) for attempt in ended.log] == [(204, "é")]
    assert world.deliveries.waiting() == 0
    assert world.claim() == ()


def test_a_delivery_is_filed_only_for_the_wanted_events(world: World) -> None:
    world.file("a", "start", events="completed,logs")
    world.file("b", "completed", events="start")
    world.file("c", "completed", events="output,completed")
    assert names(world.claim()) == ["c_completed"]
    assert world.states("a") == world.states("b") == []


def test_a_batch_has_one_delivery_for_its_end(world: World) -> None:
    world.file("a", "completed", kind="batch")
    (outgoing,) = world.claim()
    assert (outgoing.delivery.id, outgoing.delivery.kind) == ("a_batch_completed", "batch")
    assert world.states("a", "batch") == [DeliveryStatus.SENDING]


def test_a_failed_delivery_is_retried_after_its_delay_with_the_same_body(world: World) -> None:
    world.file("a", "completed")
    (first,) = world.claim()
    since = time.monotonic()
    assert world.settle(first, AttemptResult.FAILED, delay_s=0.5)
    (second,) = due_after(world, 0.5, since)
    assert second.body == b"the body"
    assert second.source == {}
    assert (second.delivery.attempts, second.delivery.failures) == (2, 1)
    world.settle(second, AttemptResult.DELIVERED)
    (ended,) = world.deliveries.deliveries_for("prediction", "a")
    assert [attempt.status for attempt in ended.log] == [500, 204]


def test_a_claim_says_how_long_nothing_is_due(world: World) -> None:
    world.file("a", "completed")
    (outgoing,) = world.claim()
    assert world.settle(outgoing, AttemptResult.FAILED, delay_s=100)
    claimed, wait_s = world.deliveries.claim("o", 10)
    assert claimed == ()
    assert wait_s is not None
    assert 0 < wait_s <= 100


def test_a_sender_that_lost_its_lease_changes_nothing(
    kind: str, request: pytest.FixtureRequest
) -> None:
    world = make(kind, request, WebhooksSettings(lease_s=0.1, timeout_s=0.05))
    world.file("a", "completed")
    (stale,) = world.claim()
    time.sleep(0.15)
    assert world.deliveries.sweep() == (("a_completed",), ())
    (fresh,) = world.claim()
    assert not world.settle(stale, AttemptResult.DELIVERED)
    assert world.states("a") == [DeliveryStatus.SENDING]
    assert world.settle(fresh, AttemptResult.DELIVERED)
    assert not world.settle(fresh, AttemptResult.FAILED)
    (ended,) = world.deliveries.deliveries_for("prediction", "a")
    assert [attempt.error for attempt in ended.log] == ["sender_lost", None]
    assert ended.failures == 0, "a lost sender does not count as the receiver's failure"


def test_a_delivery_that_loses_its_sender_repeatedly_waits_longer_each_time(
    kind: str, request: pytest.FixtureRequest
) -> None:
    world = make(kind, request, WebhooksSettings(lease_s=0.02, timeout_s=0.01))
    world.file("a", "completed")
    for _ in range(2):
        assert names(world.claim()) == ["a_completed"]
        time.sleep(0.03)
        world.deliveries.sweep()
    (waiting,) = world.deliveries.deliveries_for("prediction", "a")
    assert waiting.due is not None
    assert 0.5 < waiting.due - waiting.log[-1].at <= 1.1


def test_a_requeued_delivery_is_due_at_once_and_is_not_counted_as_an_attempt(world: World) -> None:
    world.file("a", "completed")
    (outgoing,) = world.claim()
    assert world.deliveries.settle([AttemptOutcome(outgoing, AttemptResult.NOT_ATTEMPTED)]) == [
        True
    ]
    (again,) = world.claim()
    assert again.delivery.attempts == 1
    assert world.deliveries.deliveries_for("prediction", "a")[0].log == ()


def test_the_last_failure_makes_a_dead_delivery_that_can_be_redelivered(world: World) -> None:
    world.file("a", "completed")
    world.file("b", "completed", OTHER)
    for outgoing in world.claim():
        world.settle(outgoing, AttemptResult.FAILED, delay_s=None)
    assert {delivery.id for delivery in world.deliveries.dead()} == {"a_completed", "b_completed"}
    assert world.deliveries.dead()[0].reason == "attempts"
    assert world.deliveries.waiting() == 0
    assert world.deliveries.redeliver("a_completed").status is DeliveryStatus.WAITING
    with pytest.raises(Conflict, match="on its way"):
        world.deliveries.redeliver("a_completed")
    (again,) = world.claim()
    assert (again.delivery.id, again.body, again.delivery.failures) == (
        "a_completed",
        b"the body",
        0,
    )
    assert names_of_dead(world) == ["b_completed"]


def test_a_delivered_event_can_be_redelivered_while_its_record_exists(world: World) -> None:
    for name in "ab":
        world.file(name, "completed", OTHER if name == "b" else URL)
    for outgoing in world.claim():
        world.settle(outgoing, AttemptResult.DELIVERED)
    assert world.deliveries.redeliver("a_completed", "default").status is DeliveryStatus.WAITING
    (again,) = world.claim()
    assert again.body is None
    assert again.source.items() >= RECORD.items()
    world.forget("b")
    with pytest.raises(Gone):
        world.deliveries.redeliver("b_completed")


def test_another_keys_delivery_is_unknown(world: World) -> None:
    world.file("a", "completed", key="camera")
    for name, key in (("a_completed", "door"), ("b_completed", None)):
        with pytest.raises(NotFound):
            world.deliveries.redeliver(name, key)


def test_a_delivery_whose_record_is_gone_is_dead(world: World) -> None:
    world.file("a", "completed")
    world.forget("a")
    assert world.claim() == ()
    assert [delivery.reason for delivery in world.deliveries.dead()] == ["record_gone"]
    assert world.deliveries.waiting() == 0


def test_a_waiting_start_is_superseded_by_the_end(world: World) -> None:
    world.file("a", "start")
    world.file("a", "completed")
    assert world.states("a") == [DeliveryStatus.SUPERSEDED, DeliveryStatus.WAITING]
    assert names(world.claim()) == ["a_completed"]
    assert world.deliveries.waiting() == 1
    with pytest.raises(Conflict, match="after the prediction's end"):
        world.deliveries.redeliver("a_start")


def test_a_webhook_that_wants_only_starts_is_not_sent_the_end(world: World) -> None:
    world.file("a", "start", events="start")
    world.file("a", "completed", events="start")
    assert names(world.claim()) == ["a_start"]


@pytest.mark.parametrize(
    ("result", "delay_s", "start"),
    [
        (AttemptResult.DELIVERED, 0, DeliveryStatus.DELIVERED),
        (AttemptResult.FAILED, 0, DeliveryStatus.SUPERSEDED),
        (AttemptResult.FAILED, None, DeliveryStatus.DEAD),
        (AttemptResult.GONE, None, DeliveryStatus.STOPPED),
        (AttemptResult.NOT_ATTEMPTED, None, DeliveryStatus.SUPERSEDED),
    ],
)
def test_the_end_waits_while_the_start_is_being_sent(
    world: World, result: AttemptResult, delay_s: float | None, start: DeliveryStatus
) -> None:
    world.file("a", "start")
    (outgoing,) = world.claim()
    world.file("a", "completed", "https://a.example/other" if result is AttemptResult.GONE else URL)
    assert world.states("a") == [DeliveryStatus.SENDING, DeliveryStatus.HELD]
    assert world.claim() == ()
    world.settle(outgoing, result, delay_s)
    assert world.states("a") == [start, DeliveryStatus.WAITING]
    assert names(world.claim()) == ["a_completed"]


def test_the_end_waits_no_longer_than_the_lease_of_the_start(
    kind: str, request: pytest.FixtureRequest
) -> None:
    world = make(kind, request, WebhooksSettings(lease_s=0.05, timeout_s=0.01))
    world.file("a", "start")
    assert len(world.claim()) == 1
    world.file("a", "completed")
    time.sleep(0.1)
    world.deliveries.sweep()
    assert world.states("a") == [DeliveryStatus.SUPERSEDED, DeliveryStatus.WAITING]
    assert names(world.claim()) == ["a_completed"]


def test_a_url_that_answers_gone_is_sent_nothing_until_a_redelivery(world: World) -> None:
    world.file("a", "completed")
    (outgoing,) = world.claim()
    world.settle(outgoing, AttemptResult.GONE)
    world.file("b", "completed", URL.replace("token=1", "token=2"))
    world.file("c", "completed", URL.replace("/hook", "/another"))
    assert names(world.claim()) == ["c_completed"]
    assert world.states("a") == world.states("b") == [DeliveryStatus.STOPPED]
    assert names_of_dead(world) == ["b_completed", "a_completed"]
    world.deliveries.redeliver("a_completed")
    world.file("d", "completed")
    assert sorted(names(world.claim())) == ["a_completed", "d_completed"]


def test_a_delivery_that_failed_for_too_long_is_given_up(
    kind: str, request: pytest.FixtureRequest
) -> None:
    world = make(kind, request, WebhooksSettings(give_up_s=0.2, pause_after=1, first_pause_s=100))
    world.file("a", "completed")
    world.file("b", "completed")
    world.file("untried", "completed", OTHER)
    (outgoing,) = (delivery for delivery in world.claim(1))
    world.settle(outgoing, AttemptResult.FAILED, delay_s=100)
    time.sleep(0.25)
    assert sorted(world.deliveries.sweep().given_up) == ["a_completed", "b_completed"]
    assert {delivery.reason for delivery in world.deliveries.dead()} == {"age"}
    assert names(world.claim()) == ["untried_completed"], (
        "a delivery that was never attempted waits on"
    )


def test_a_delivery_that_was_just_opened_is_not_given_up(world: World) -> None:
    world.file("a", "completed")
    (outgoing,) = world.claim()
    world.settle(outgoing, AttemptResult.FAILED, delay_s=100)
    assert world.deliveries.sweep().given_up == ()
    assert world.states("a") == [DeliveryStatus.WAITING]


def test_a_deliverys_log_is_bounded(kind: str, request: pytest.FixtureRequest) -> None:
    world = make(kind, request, WebhooksSettings(max_logged=2, pause_after=100))
    world.file("a", "completed")
    for _ in range(4):
        (outgoing,) = world.claim()
        world.settle(outgoing, AttemptResult.FAILED)
    assert len(world.deliveries.deliveries_for("prediction", "a")[0].log) == 2


def test_the_list_of_dead_deliveries_is_bounded(kind: str, request: pytest.FixtureRequest) -> None:
    world = make(kind, request, WebhooksSettings(max_dead=2, pause_after=100))
    for name in "abc":
        world.file(name, "completed")
        (outgoing,) = world.claim()
        world.settle(outgoing, AttemptResult.FAILED, delay_s=None)
        time.sleep(0.002)
    world.deliveries.sweep()
    assert names_of_dead(world) == ["c_completed", "b_completed"]


def test_without_deliveries_a_claim_is_empty_and_nothing_is_due(world: World) -> None:
    assert world.deliveries.claim("o", 10) == ClaimedDeliveries((), None)


def test_a_test_event_has_its_body_from_the_start_and_no_record(world: World) -> None:
    filed = world.deliveries.file_test("t", URL, "camera", b"the body")
    assert (filed.id, filed.kind, filed.event) == ("t_test", "webhook", "test")
    assert (filed.status, filed.key, filed.url) == (DeliveryStatus.WAITING, "camera", URL)
    (outgoing,) = world.claim()
    assert (outgoing.body, dict(outgoing.source)) == (b"the body", {})
    assert world.settle(outgoing, AttemptResult.FAILED, None)
    dead = world.deliveries.get("t_test", "camera")
    assert (dead.status, dead.reason, len(dead.log)) == (DeliveryStatus.DEAD, "attempts", 1)
    assert world.deliveries.redeliver("t_test").status is DeliveryStatus.WAITING
    (outgoing,) = world.claim()
    assert world.settle(outgoing, AttemptResult.DELIVERED)
    with pytest.raises(Gone):
        world.deliveries.redeliver("t_test")


def test_one_delivery_is_known_to_its_key_only(world: World) -> None:
    world.file("a", "completed", key="camera")
    assert world.deliveries.get("a_completed").key == "camera"
    assert world.deliveries.get("a_completed", "camera").id == "a_completed"
    with pytest.raises(NotFound):
        world.deliveries.get("a_completed", "default")
    with pytest.raises(NotFound):
        world.deliveries.get("b_completed")


def test_dead_deliveries_come_in_parts(world: World) -> None:
    for name in ("a", "b", "c"):
        world.file(name, "completed")
        (outgoing,) = world.claim()
        world.settle(outgoing, AttemptResult.FAILED, None)
    ids = [delivery.id for delivery in world.deliveries.dead()]
    assert ids == ["c_completed", "b_completed", "a_completed"]
    assert [delivery.id for delivery in world.deliveries.dead(1, 1)] == ids[1:2]
    assert world.deliveries.dead(3, 5) == []
