"""The webhooks' process: `python -m worker webhooks`. Everything is built here, and taken down here."""

import asyncio
import contextlib
import logging
import os
import signal
import socket

import httpx
import redis.asyncio
import redis.exceptions

from sluice.delivery import OutgoingDelivery
from sluice.ledger.deliveries import RedisDeliveries
from sluice.outbound.guard import Guard, async_client
from sluice.redisio import connection
from sluice.settings import Settings
from sluice.telemetry import configure_logging
from sluice.webhooks.payload import event_body
from sluice.webhooks.secrets import RedisSecrets
from worker.sender import Sender

log = logging.getLogger(__name__)

_RECONNECT_S = 1.0
_KEEP_ALIVE_S = 4.0  # less than servers commonly have, so that none closes a connection just as it is used again


def main() -> None:
    """Send until SIGTERM or SIGINT; the exit status is 0. Raises ValueError for a setting that is wrong."""
    settings = Settings.from_env()
    configure_logging()
    asyncio.run(serve(settings))
    os._exit(0)  # nothing is left to do, and a lookup of a name that hangs would be waited for


async def serve(settings: Settings) -> None:
    stopping = asyncio.Event()
    client = connection.connect(
        settings.redis_url,
        connect_timeout_s=settings.redis.connect_timeout_s,
        timeout_s=settings.redis.worker_timeout_s,
    )
    limits = httpx.Limits(
        max_connections=settings.webhooks.concurrency, keepalive_expiry=_KEEP_ALIVE_S
    )
    guard = Guard(settings.netguard.allow)
    public_url = settings.api.public_url

    def render(outgoing: OutgoingDelivery) -> bytes:
        return event_body(outgoing.delivery, outgoing.source, public_url)

    async with async_client(guard, timeout_s=settings.webhooks.timeout_s, limits=limits) as http:
        sender = Sender(
            RedisDeliveries(client, settings.queue.name, settings.webhooks),
            RedisSecrets(client, settings.queue.name),
            http,
            render,
            settings.webhooks,
            sender=f"{socket.gethostname()}/{os.getpid()}",
        )

        def stop() -> None:
            stopping.set()
            sender.wake.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        listening = asyncio.create_task(
            _listen(settings.redis_url, settings.queue.name, sender.wake)
        )
        ready_file = settings.webhooks.ready_file
        if ready_file:
            ready_file.write_text(f"{os.getpid()}\n")
        try:
            await sender.run(stopping)
        finally:
            if ready_file:
                ready_file.unlink(missing_ok=True)
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening
            client.close()


async def _listen(redis_url: str, queue: str, wake: asyncio.Event) -> None:
    """Set `wake` at the news that something is due. News may get lost, so that the sender looks by itself too."""
    async with redis.asyncio.Redis.from_url(
        redis_url, socket_keepalive=True, health_check_interval=5
    ) as client:
        while True:
            try:
                async with client.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(f"{{{queue}}}:deliveries-news")
                    async for _ in subscription.listen():
                        wake.set()
            except (redis.exceptions.RedisError, OSError) as error:
                log.debug("news are not heard: %s", error)
            await asyncio.sleep(_RECONNECT_S)
