"""The contract of `Deliveries` as a queue: bounds, turns and pauses."""

import time

import pytest

from sluice.delivery import (
    AttemptResult,
    ClaimedDeliveries,
    DeliveryStatus,
)
from sluice.settings import WebhooksSettings
from tests.support.deliveries import URL, World, due_after, make, names

OTHER = "https://b.example/hook"


@pytest.fixture
def world(kind: str, request: pytest.FixtureRequest) -> World:
    return make(kind, request, WebhooksSettings())


def test_a_receivers_attempts_at_a_time_are_bounded_and_delay_no_other_receiver(
    kind: str, request: pytest.FixtureRequest
) -> None:
    world = make(kind, request, WebhooksSettings(max_per_receiver=2))
    for number in range(5):
        world.file(f"slow{number}", "completed", f"https://a.example/{number}")
    world.file("quick", "completed", OTHER)
    world.file("mine", "completed", URL, key="camera")
    claimed = world.claim()
    assert sorted(names(claimed)) == [
        "mine_completed",
        "quick_completed",
        "slow0_completed",
        "slow1_completed",
    ]
    assert world.claim() == ()
    slow = next(outgoing for outgoing in claimed if outgoing.delivery.subject_id == "slow0")
    world.settle(slow, AttemptResult.DELIVERED)
    assert names(world.claim()) == ["slow2_completed"]


def test_a_keys_attempts_at_a_time_are_bounded_and_delay_no_other_key(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """Five hundred hosts of one key hang."""
    world = make(kind, request, WebhooksSettings(max_per_key=4))
    for number in range(500):
        world.file(f"hangs{number}", "completed", f"https://{number}.example/", key="greedy")
    hanging = world.claim()
    assert len(hanging) == 4
    assert world.deliveries.claim("o", 10) == ClaimedDeliveries((), None), (
        "no delivery is due, so a sender does not claim again and again"
    )
    world.file("other", "completed", OTHER, key="modest")
    assert names(world.claim()) == ["other_completed"]
    for outgoing in hanging[:2]:
        world.settle(outgoing, AttemptResult.FAILED, delay_s=100)
    assert len(world.claim()) == 2, "a free place is used again"
    assert world.claim() == ()


def test_every_waiting_delivery_of_a_key_at_its_bound_is_sent_in_the_end(
    kind: str, request: pytest.FixtureRequest
) -> None:
    world = make(
        kind,
        request,
        WebhooksSettings(
            max_per_key=2, max_per_receiver=1, pause_after=1, first_pause_s=0.1, longest_pause_s=0.1
        ),
    )
    for number in range(12):
        world.file(f"a{number}", "completed", f"https://{number % 3}.example/")
    tried, until = set(), time.monotonic() + 20
    while world.deliveries.waiting() and time.monotonic() < until:
        for outgoing in world.claim():
            again = outgoing.delivery.id not in tried
            tried.add(outgoing.delivery.id)
            world.settle(
                outgoing, AttemptResult.DELIVERED if again else AttemptResult.FAILED, delay_s=0.05
            )
        time.sleep(0.01)
    assert world.deliveries.waiting() == 0


def test_keys_take_turns_to_be_sent(world: World) -> None:
    for number in range(8):
        world.file(f"a{number}", "completed", f"https://{number}.example/", key="many")
    for number in range(2):
        world.file(f"b{number}", "completed", OTHER, key="few")
    assert sorted(name[0] for name in names(world.claim(4))) == ["a", "a", "b", "b"]


def test_receivers_of_one_key_take_turns_to_be_sent(world: World) -> None:
    for number in range(4):
        world.file(f"a{number}", "completed")
    world.file("b", "completed", OTHER)
    time.sleep(0.01)
    first = world.claim(1)
    time.sleep(0.01)
    assert names(world.claim(1)) == ["b_completed"]
    assert names(first) == ["a0_completed"]


def test_a_failing_receiver_is_paused_then_probed_then_sent_everything_again(
    kind: str, request: pytest.FixtureRequest
) -> None:
    world = make(
        kind, request, WebhooksSettings(pause_after=3, first_pause_s=0.2, max_per_receiver=3)
    )
    for number in range(6):
        world.file(f"a{number}", "completed")
    world.file("b", "completed", OTHER)
    since = time.monotonic()
    for outgoing in world.claim():
        if outgoing.delivery.subject_id != "b":
            world.settle(outgoing, AttemptResult.FAILED, delay_s=100)
    assert world.states("a5") == [DeliveryStatus.WAITING], "a pause moves no waiting delivery"
    (probe,) = due_after(world, 0.2, since)
    assert world.claim() == ()
    since = time.monotonic()
    world.settle(probe, AttemptResult.FAILED, delay_s=100)
    (probe,) = due_after(world, 0.4, since)  # the second pause is twice as long
    world.settle(probe, AttemptResult.DELIVERED)
    assert len(world.claim()) == 1
    assert world.deliveries.deliveries_for("prediction", "a5")[0].failures == 0, (
        "a pause counts as no attempt"
    )


def test_a_receiver_that_asks_for_a_cooldown_gets_it(world: World) -> None:
    world.file("a", "completed")
    world.file("b", "completed")
    (outgoing,) = world.claim(1)
    since = time.monotonic()
    world.settle(outgoing, AttemptResult.FAILED, delay_s=0, cooldown_s=0.2)
    assert len(due_after(world, 0.2, since)) == 2
