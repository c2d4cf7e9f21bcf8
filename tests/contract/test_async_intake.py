"""The asynchronous intake on a real Redis leaves there what `Intake` leaves."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis

from sluice.blobs.store import RedisBlobs, input_key
from sluice.errors import QueueFull, Unavailable
from sluice.intake.doorbell import MAX_WAITING_RINGS
from sluice.intake.fast import IN_FLIGHT, FastIntake
from sluice.ledger.predictions import RedisLedger
from sluice.prediction import Priority, Status, Submission
from sluice.redisio.multiplexed import MultiplexedConnection
from sluice.settings import QueueSettings, RedisAddress
from tests.support.servers import free_port

pytestmark = pytest.mark.anyio

SUBMISSION = Submission(model="codes", key="mine", priority=Priority.HIGH, metadata={"a": 1})


@dataclass
class World:
    intake: FastIntake
    ledger: RedisLedger
    blobs: RedisBlobs
    rung: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


@pytest.fixture(params=["together", "apart"])
async def world(
    request: pytest.FixtureRequest, redis_url: str, redis_client: "redis.Redis"
) -> AsyncIterator[World]:
    ledger = RedisLedger(redis_client, QueueSettings(max_backlog=100))
    client = MultiplexedConnection(RedisAddress.parse(redis_url))
    blobs = (
        MultiplexedConnection(RedisAddress.parse(redis_url)) if request.param == "apart" else None
    )
    rung: list[str] = []
    dropped: list[str] = []
    intake = FastIntake(
        ledger, client, blobs, blob_ttl_s=60, ring=rung.append, expire_orphan=dropped.append
    )
    yield World(intake, ledger, RedisBlobs(redis_client), rung, dropped)
    client.close()
    if blobs:
        blobs.close()


async def test_an_accepted_submission_is_stored_recorded_and_can_be_claimed(
    world: World, redis_client: "redis.Redis"
) -> None:
    prediction = await world.intake.accept_new(b"image", SUBMISSION)
    assert prediction == world.ledger.get(prediction.id, "mine")
    assert {name: getattr(prediction, name) for name in dict(SUBMISSION)} == dict(SUBMISSION)
    key = input_key(prediction.id, prediction.digest)
    assert world.blobs.get(key) == b"image"
    assert 0 < redis_client.ttl(f"blob:{key}") <= 60
    assert world.rung == [prediction.id]
    claim = world.ledger.claim("w", 10)
    assert claim is not None
    assert claim.prediction.id == prediction.id


async def test_a_restarted_redis_is_given_the_script_again(
    world: World, redis_client: "redis.Redis"
) -> None:
    redis_client.script_flush()
    prediction = await world.intake.accept_new(b"image", SUBMISSION)
    assert world.ledger.get(prediction.id).status is Status.STARTING
    assert world.dropped == []


async def test_a_full_queue_refuses_a_submission_and_its_image_is_dropped(world: World) -> None:
    first = await world.intake.accept_new(b"image", SUBMISSION, max_backlog=1)
    with pytest.raises(QueueFull, match="key"):
        await world.intake.accept_new(b"image", SUBMISSION, max_backlog=1)
    assert len(world.dropped) == 1
    assert world.dropped != [input_key(first.id, "")]
    assert world.ledger.backlog() == 1


async def test_a_hundred_submissions_at_once_share_one_connection(world: World) -> None:
    many = await asyncio.gather(
        *(world.intake.accept_new(b"image", SUBMISSION) for _ in range(100))
    )
    assert len({prediction.id for prediction in many}) == world.ledger.backlog() == 100
    assert len(world.rung) == MAX_WAITING_RINGS, "a ring waits for every worker already"
    with pytest.raises(QueueFull):
        await world.intake.accept_new(b"image", SUBMISSION)


class _Counting(MultiplexedConnection):
    """Counts the calls that wait for Redis at once."""

    waiting = most = 0

    async def send(self, *commands: tuple[Any, ...]) -> list[Any]:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            return await super().send(*commands)
        finally:
            self.waiting -= 1


async def test_the_images_of_a_burst_do_not_all_wait_in_the_connections_buffer(
    redis_url: str, redis_client: "redis.Redis"
) -> None:
    """The last of them would be sent after its time-out."""
    client = _Counting(RedisAddress.parse(redis_url))
    intake = FastIntake(
        RedisLedger(redis_client, QueueSettings()),
        client,
        None,
        blob_ttl_s=60,
        ring=lambda _: None,
        expire_orphan=lambda _: None,
    )
    await asyncio.gather(*(intake.accept_new(b"image", SUBMISSION) for _ in range(5 * IN_FLIGHT)))
    assert client.most == IN_FLIGHT
    client.close()


@pytest.mark.parametrize("unavailable", ["ledger", "blobs"])
async def test_an_unavailable_ledger_or_blob_store_refuses_the_submission_and_drops_its_image(
    unavailable: str, redis_url: str, redis_client: "redis.Redis"
) -> None:
    nowhere = MultiplexedConnection(RedisAddress(port=free_port()))
    somewhere = MultiplexedConnection(RedisAddress.parse(redis_url))
    dropped: list[str] = []
    ledger = RedisLedger(redis_client, QueueSettings())
    client, blobs = (nowhere, somewhere) if unavailable == "ledger" else (somewhere, nowhere)
    intake = FastIntake(
        ledger, client, blobs, blob_ttl_s=60, ring=dropped.append, expire_orphan=dropped.append
    )
    with pytest.raises(Unavailable):
        await intake.accept_new(b"image", SUBMISSION)
    assert len(dropped) == 1
    assert ledger.backlog() == 0
    nowhere.close()
    somewhere.close()


async def test_a_connection_that_broke_unnoticed_is_replaced_and_the_submission_accepted(
    world: World, redis_client: "redis.Redis"
) -> None:
    await asyncio.gather(*(world.intake.accept_new(b"image", SUBMISSION) for _ in range(8)))
    for client in redis_client.client_list():
        if int(client["id"]) != redis_client.client_id():
            # The event loop hears of the closed connection later, as when Redis is killed.
            redis_client.client_kill_filter(_id=client["id"])
    prediction = await world.intake.accept_new(b"image", SUBMISSION)
    assert world.ledger.get(prediction.id).status is Status.STARTING
    assert world.ledger.backlog() == 9
