"""Stores of deliveries, in Redis and in memory, with the ledger's part: filing a delivery."""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import redis

from sluice.delivery import (
    AttemptOutcome,
    AttemptResult,
    DeliveryAttempt,
    DeliveryStatus,
    OutgoingDelivery,
)
from sluice.ledger.deliveries import Deliveries, RedisDeliveries
from sluice.ledger.scripts import GENERATED
from sluice.redisio.scripts import assemble, run
from sluice.settings import WebhooksSettings
from tests.fakes.deliveries import MemoryDeliveries

URL = "https://a.example/hook?token=1"
RECORD = {b"model": b"codes"}

# The part of the ledger's scripts that files a delivery, alone.
FILER = assemble(
    "tests/support/deliveries.lua",
    """
-- @include common
-- @include deliveries/file
file_delivery(unpack(ARGV, 3))
""",
    "sluice.ledger",
    GENERATED,
)


def file_delivery(client: "redis.Redis", kind: str, subject_id: str, event: str) -> None:
    run(client, FILER.call([], ["{default}", "{}", kind, subject_id, event]))


@dataclass
class World:
    """A store, and the ledger's part."""

    deliveries: Deliveries
    record: Callable[[str, str, str, str], None]
    """Write the record under a name, with a URL, the wanted events and an API key's name."""
    file_: Callable[[str, str, str], None]
    """File a delivery for a subject's id, an event and a kind of subject."""
    forget: Callable[[str], None]
    """Delete the record of a prediction."""

    def file(
        self,
        subject_id: str,
        event: str,
        url: str = URL,
        events: str = "",
        key: str = "default",
        kind: str = "prediction",
    ) -> None:
        """Write a subject's record, and file its delivery for an event."""
        self.record(f"{kind}:{subject_id}", url, events, key)
        self.file_(subject_id, event, kind)

    def claim(self, most: int = 10) -> tuple[OutgoingDelivery, ...]:
        return self.deliveries.claim(uuid.uuid4().hex, most).outgoing

    def settle(
        self,
        outgoing: OutgoingDelivery,
        result: AttemptResult,
        delay_s: float | None = 0.0,
        cooldown_s: float = 0.0,
    ) -> bool:
        attempt = DeliveryAttempt(
            at=outgoing.at,
            duration_s=0.1,
            status={AttemptResult.DELIVERED: 204}.get(result, 500),
            answer="é",
        )
        return self.deliveries.settle(
            [AttemptOutcome(outgoing, result, attempt, b"the body", delay_s, cooldown_s)]
        )[0]

    def states(self, subject_id: str, kind: str = "prediction") -> list[DeliveryStatus]:
        deliveries = self.deliveries.deliveries_for(kind, subject_id)
        return [delivery.status for delivery in deliveries]


def make(kind: str, request: pytest.FixtureRequest, settings: WebhooksSettings) -> World:
    """A world in `memory` or in `redis`, with the settings."""
    if kind == "memory":
        memory = MemoryDeliveries(settings)
        webhooks: dict[str, tuple[str, str, str]] = {}

        def record(name: str, url: str, events: str, key: str) -> None:
            memory.records[name.partition(":")[2]] = RECORD
            webhooks[name] = (url, events, key)

        return World(
            memory,
            record,
            lambda subject_id, event, kind: memory.file(
                subject_id, event, *webhooks[f"{kind}:{subject_id}"], kind=kind
            ),
            lambda _: memory.records.clear(),
        )
    client = request.getfixturevalue("redis_client")

    def put(name: str, url: str, events: str, key: str) -> None:
        fields = {"webhook": url, "key": key, **{k.decode(): v for k, v in RECORD.items()}}
        client.hset(
            f"{{default}}:{name}", mapping=fields | ({"webhook_events": events} if events else {})
        )

    return World(
        RedisDeliveries(client, "default", settings),
        put,
        lambda subject_id, event, kind: file_delivery(client, kind, subject_id, event),
        lambda subject_id: client.delete(f"{{default}}:prediction:{subject_id}"),
    )


def names(claimed: Sequence[OutgoingDelivery]) -> list[str]:
    """The ids of claimed deliveries."""
    return [outgoing.delivery.id for outgoing in claimed]


def names_of_dead(world: World) -> list[str]:
    """The ids of dead deliveries."""
    return [delivery.id for delivery in world.deliveries.dead()]


def due_after(world: World, least_s: float, since: float) -> tuple[OutgoingDelivery, ...]:
    """The next claimed deliveries, due no earlier than `least_s` after `since` (monotonic)."""
    while not (outgoing := world.claim()):
        assert time.monotonic() < since + 60
        time.sleep(0.01)
    assert time.monotonic() >= since + least_s
    return outgoing
