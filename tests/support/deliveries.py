"""A store of deliveries with the ledger's part in it, for contract tests of both stores."""

import uuid
from collections.abc import Callable
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
    """A store, and the ledger's part in it."""

    deliveries: Deliveries
    record: Callable[[str, str, str, str], None]
    file_: Callable[[str, str, str], None]
    forget: Callable[[str], None]

    def file(
        self,
        of: str,
        event: str,
        url: str = URL,
        events: str = "",
        key: str = "default",
        kind: str = "prediction",
    ) -> None:
        self.record(f"{kind}:{of}", url, events, key)
        self.file_(of, event, kind)

    def claim(self, most: int = 10) -> tuple[OutgoingDelivery, ...]:
        return self.deliveries.claim(uuid.uuid4().hex, most).outgoing

    def settle(
        self,
        outgoing: OutgoingDelivery,
        result: AttemptResult,
        delay_s: float | None = 0.0,
        cooldown_s: float = 0.0,
    ) -> bool:
        said = DeliveryAttempt(
            at=outgoing.at,
            duration_s=0.1,
            status={AttemptResult.DELIVERED: 204}.get(result, 500),
            answer="é",
        )
        return self.deliveries.settle(
            [AttemptOutcome(outgoing, result, said, b"the body", delay_s, cooldown_s)]
        )[0]

    def states(self, of: str, kind: str = "prediction") -> list[DeliveryStatus]:
        return [found.status for found in self.deliveries.deliveries_for(kind, of)]


def make(kind: str, request: pytest.FixtureRequest, settings: WebhooksSettings) -> World:
    if kind == "memory":
        memory = MemoryDeliveries(settings)
        asked: dict[str, tuple[str, str, str]] = {}

        def record(name: str, url: str, events: str, key: str) -> None:
            memory.records[name.partition(":")[2]] = RECORD
            asked[name] = (url, events, key)

        return World(
            memory,
            record,
            lambda of, event, kind: memory.file(of, event, *asked[f"{kind}:{of}"], kind=kind),
            lambda of: memory.records.clear(),
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
        lambda of, event, kind: file_delivery(client, kind, of, event),
        lambda of: client.delete(f"{{default}}:prediction:{of}"),
    )
