"""The sender over deliveries in memory and real HTTP on loopback."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from sluice.delivery import Delivery, SweptDeliveries
from sluice.errors import RedisUnavailable
from sluice.outbound.guard import Guard
from sluice.outbound.transport import async_client
from sluice.settings import WebhooksSettings
from tests.fakes.deliveries import MemoryDeliveries, MemorySecrets
from tests.support.loopback import Handler, Server, serving
from worker.sender import ANSWER_BYTES, Sender

pytestmark = pytest.mark.anyio

QUICK: dict[str, Any] = {
    "schedule_s": (0.05, 0.05),
    "timeout_s": 30,
    "lease_s": 60,
    "poll_s": 0.05,
    "sweep_interval_s": 0.05,
}
LOOPBACK = IPv4Network("127.0.0.1/32")


@dataclass
class Heard:
    """A receiver. `answers` are used in turn, and the last one stays."""

    secrets: MemorySecrets
    answers: list[Callable[[Handler], None]] = field(
        default_factory=lambda: [lambda handler: handler.reply(204)]
    )
    messages: list[dict[str, str]] = field(default_factory=list)

    def __call__(self, handler: Handler) -> None:
        self.messages.append({name.lower(): value for name, value in handler.headers.items()})
        (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])(handler)


@dataclass
class World:
    heard: Heard
    server: Server
    deliveries: MemoryDeliveries

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/hook?token=hidden"

    def file(self, of: str = "a", url: str | None = None) -> None:
        self.deliveries.records[of] = {b"made": b"of"}
        self.deliveries.file(of, "completed", url or self.url)

    def one(self, of: str = "a") -> Delivery:
        return self.deliveries.deliveries_for("prediction", of)[-1]


@pytest.fixture
def world() -> Iterator[World]:
    secrets = MemorySecrets()
    heard = Heard(secrets)
    deliveries = MemoryDeliveries(WebhooksSettings(**QUICK))
    deliveries.secrets = secrets
    with serving(heard) as server:
        yield World(heard, server, deliveries)


@asynccontextmanager
async def sending(
    world: World, *, allow: tuple[IPv4Network, ...] = (LOOPBACK,), **options: Any
) -> AsyncIterator[Sender]:
    settings = WebhooksSettings(**QUICK | options)
    stopping = asyncio.Event()
    guard = Guard(allow)
    async with async_client(guard, timeout_s=settings.timeout_s) as http:
        sender = Sender(
            world.deliveries,
            world.heard.secrets,
            http,
            lambda outgoing: outgoing.source[b"made"],
            settings,
            sender="test",
        )
        running = asyncio.create_task(sender.run(stopping))
        try:
            yield sender
        finally:
            stopping.set()
            sender.wake.set()
            await running


async def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it took too long"
        await asyncio.sleep(0.01)


async def test_a_delivered_event_is_signed(world: World) -> None:
    world.file()
    async with sending(world):
        await until(lambda: world.one().status == "delivered")
    (message,) = world.heard.messages
    assert message["webhook-id"] == "a_completed"
    assert message["content-type"] == "application/json"
    Webhook(world.heard.secrets.by_key["default"][0]).verify(b"of", message, json_parse=False)
    assert world.one().log[0].status == 204


async def test_both_secrets_sign(world: World) -> None:
    world.heard.secrets.for_key("default")
    world.heard.secrets.rotate("default")
    world.file()
    async with sending(world):
        await until(lambda: world.heard.messages)
    for secret in world.heard.secrets.by_key["default"]:
        Webhook(secret).verify(b"of", world.heard.messages[0], json_parse=False)


def _hang(handler: Handler) -> None:
    """Give no answer until the sender has closed the connection, or for a minute."""
    handler.connection.settimeout(60)
    handler.close_connection = not handler.rfile.read(1)


def _close(handler: Handler) -> None:
    handler.close_connection = True


def _half(handler: Handler) -> None:
    handler.reply(200, b"half", Content_Length="1000")
    handler.close_connection = True


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        (lambda handler: handler.reply(500, b"no"), 500, None),
        (lambda handler: handler.reply(302, Location="http://127.0.0.1:1/"), 302, None),
        (_hang, None, "timeout"),
        (_close, None, "connection_broken"),
        (_half, 200, "connection_broken"),
    ],
)
async def test_every_answer_but_a_success_is_retried(
    world: World, answer: Callable[[Handler], None], status: int | None, error: str | None
) -> None:
    world.heard.answers.insert(0, answer)
    world.file()
    async with sending(world, timeout_s=3 if answer is _hang else 30):
        await until(lambda: world.one().status == "delivered")
    first, second = world.one().log
    assert (first.status, first.error) == (status, error)
    assert second.status == 204
    assert {message["webhook-id"] for message in world.heard.messages} == {"a_completed"}
    assert set(world.server.seen) == {"/hook?token=hidden"}, "no redirect is followed"


async def test_a_delivery_is_dead_after_its_last_attempt(world: World) -> None:
    world.heard.answers = [lambda handler: handler.reply(503)]
    world.file()
    async with sending(world):
        await until(lambda: world.one().status == "dead")
    assert len(world.one().log) == 3, "the schedule has two delays"


async def test_an_address_inside_the_network_is_refused_and_on_record(world: World) -> None:
    world.file()
    async with sending(world, allow=()):
        await until(lambda: world.one().status == "dead")
    assert {attempt.error for attempt in world.one().log} == {"address_not_allowed"}
    assert world.server.connections == 0


async def test_a_refused_connection_is_on_record(world: World) -> None:
    world.file(url="http://127.0.0.1:1/")
    async with sending(world):
        await until(lambda: world.one().log)
    assert world.one().log[0].error == "connect_failed"


async def test_an_answer_of_410_stops_the_url(world: World) -> None:
    world.heard.answers = [lambda handler: handler.reply(410)]
    world.file("a")
    async with sending(world):
        await until(lambda: world.one("a").status == "stopped")
        world.file("b")
        await until(lambda: world.one("b").status == "stopped")
    assert len(world.heard.messages) == 1


async def test_retry_after_delays_the_next_attempt_up_to_a_bound(world: World) -> None:
    world.heard.answers.insert(0, lambda handler: handler.reply(429, Retry_After="3600"))
    world.file()
    async with sending(world, max_retry_after_s=0.3):
        await until(lambda: world.one().status == "delivered")
    first, second = world.one().log
    assert second.at - first.at >= 0.3


async def test_only_the_beginning_of_an_answer_is_read(world: World) -> None:
    world.heard.answers = [lambda handler: handler.reply(200, b"x" * 1_000_000)]
    world.file()
    async with sending(world):
        await until(lambda: world.one().status == "delivered")
    assert world.one().log[0].answer == "x" * ANSWER_BYTES


async def test_connections_are_reused(world: World) -> None:
    async with sending(world) as sender:
        for name in "abcde":
            world.file(name)
            sender.wake.set()
            await until(lambda name=name: world.one(name).status == "delivered")
    assert world.server.connections == 1


async def test_a_slow_receiver_delays_no_other(world: World) -> None:
    world.heard.answers = [_hang]
    for number in range(20):
        world.file(f"slow{number}")
    with serving(lambda handler: handler.reply(204)) as quick:
        async with sending(world, concurrency=10, grace_s=0.05) as sender:
            await until(lambda: world.heard.messages)
            for number in range(5):
                world.file(f"quick{number}", f"http://127.0.0.1:{quick.port}/")
            sender.wake.set()
            await until(
                lambda: all(
                    world.one(f"quick{number}").status == "delivered" for number in range(5)
                )
            )
            assert world.one("slow19").status == "waiting"


async def test_attempts_that_outlast_the_grace_wait_again(world: World) -> None:
    world.heard.answers = [_hang]
    world.file()
    async with sending(world, grace_s=0.05):
        await until(lambda: world.heard.messages)
    assert (world.one().status, world.one().attempts, world.one().log) == ("waiting", 0, ())


async def test_running_attempts_may_end_within_the_grace(world: World) -> None:
    world.heard.answers = [lambda handler: (time.sleep(0.3), handler.reply(204))[1]]
    world.file()
    async with sending(world, grace_s=30):
        await until(lambda: world.heard.messages)
    assert world.one().status == "delivered"


class Flaky(MemoryDeliveries):
    """Unavailable for the first two calls of each kind."""

    def __init__(self, settings: WebhooksSettings) -> None:
        super().__init__(settings)
        self.failures = {"claim": 2, "settle": 2, "sweep": 2}

    def _maybe(self, name: str) -> None:
        self.failures[name] -= 1
        if self.failures[name] >= 0:
            raise RedisUnavailable("away")

    def claim(self, *args: Any) -> Any:
        self._maybe("claim")
        return super().claim(*args)

    def settle(self, *args: Any) -> Any:
        self._maybe("settle")
        return super().settle(*args)

    def sweep(self) -> SweptDeliveries:
        self._maybe("sweep")
        return super().sweep()


async def test_the_sender_keeps_outcomes_while_the_store_is_unavailable(world: World) -> None:
    world.deliveries = Flaky(WebhooksSettings(**QUICK))
    world.file()
    async with sending(world):
        await until(lambda: world.one().status == "delivered")
    assert len(world.heard.messages) == 1


async def test_an_unexpected_error_is_a_failed_attempt(world: World) -> None:
    world.deliveries.records["a"] = {}
    world.deliveries.file("a", "completed", world.url)
    async with sending(world):
        await until(lambda: world.one().status == "dead")
    assert {attempt.error for attempt in world.one().log} == {"internal"}


async def test_no_url_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    world.heard.answers.insert(0, lambda handler: handler.reply(500))
    world.file()
    async with sending(world):
        await until(lambda: world.one().status == "delivered")
    ours = "\n".join(
        record.getMessage()
        for record in caplog.records
        if record.name.startswith(("sluice", "worker"))
    )
    assert "a_completed" in ours
    assert "hidden" not in ours
    assert "whsec_" not in ours
