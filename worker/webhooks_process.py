"""The webhooks process, `python -m worker webhooks`: builds all parts and closes them."""

import asyncio
import contextlib
import os
import signal
import socket

import httpx
import redis.exceptions

from sluice import logs
from sluice.delivery import OutgoingDelivery
from sluice.ledger.deliveries import RedisDeliveries
from sluice.metrics.deliveries import DeliveryMetrics
from sluice.metrics.process import add_process
from sluice.metrics.recorder import Recorder
from sluice.metrics.server import serve as serve_metrics
from sluice.outbound.guard import Guard
from sluice.outbound.transport import async_client
from sluice.redisio import connection
from sluice.redisio.names import Names
from sluice.redisio.subscriptions import messages
from sluice.redisio.watches import watch_ledger
from sluice.settings import RedisAddress, Settings
from sluice.tracing import Tracer, open_tracer
from sluice.webhooks.payload import event_body
from sluice.webhooks.secrets import RedisSecrets
from worker.sender import Sender

log = logs.get(__name__)

_RECONNECT_S = 1.0
_KEEP_ALIVE_S = 4.0  # below most servers' limit, so that no server closes a connection in use


def main() -> None:
    """Send until SIGTERM or SIGINT, and exit with status 0.

    Raises ValueError for a wrong setting.
    """
    settings = Settings.from_env()
    logs.configure(settings.log, "webhooks")
    asyncio.run(serve(settings))
    os._exit(0)  # a normal exit would wait for a hanging lookup of a name


async def serve(settings: Settings) -> None:
    """Send deliveries until a signal tells this process to stop."""
    stopping = asyncio.Event()
    tracer = open_tracer(settings.tracing, "webhooks")
    address = settings.redis_address(settings.redis.worker_timeout_s)
    client = connection.connect(address)
    watch_ledger(client, settings).start()
    limits = httpx.Limits(
        max_connections=settings.webhooks.concurrency, keepalive_expiry=_KEEP_ALIVE_S
    )
    guard = Guard(settings.netguard.allow)
    async with async_client(guard, timeout_s=settings.webhooks.timeout_s, limits=limits) as http:
        recorder = Recorder()
        metrics = DeliveryMetrics(recorder)
        sender = _sender(client, http, settings, metrics, tracer)
        metrics.add_slots(settings.webhooks.concurrency, lambda: sender.running)
        add_process(recorder)
        serve_metrics(recorder, settings.metrics)
        _stop_on_signals(stopping, sender)
        listening = asyncio.create_task(listen(address, settings.queue.name, sender.wake))
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
            if tracer:
                await asyncio.to_thread(tracer.close)


def _sender(
    client: "redis.Redis",
    http: httpx.AsyncClient,
    settings: Settings,
    metrics: DeliveryMetrics,
    tracer: Tracer | None,
) -> Sender:
    public_url = settings.api.public_url

    def render(outgoing: OutgoingDelivery) -> bytes:
        return event_body(outgoing.delivery, outgoing.source, public_url)

    return Sender(
        RedisDeliveries(client, settings.queue.name, settings.webhooks),
        RedisSecrets(client, settings.queue.name),
        http,
        render,
        settings.webhooks,
        sender=f"{socket.gethostname()}/{os.getpid()}",
        tracer=tracer,
        metrics=metrics,
    )


def _stop_on_signals(stopping: asyncio.Event, sender: Sender) -> None:
    def stop() -> None:
        stopping.set()
        sender.wake.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)


async def listen(address: RedisAddress, queue: str, wake: asyncio.Event) -> None:
    """Set `wake` when a message says that a delivery is due, or may have said so.

    Messages may get lost, so that the sender polls too.
    """
    async with connection.connect_for_subscriptions(address) as client:
        while True:
            try:
                async with client.pubsub() as subscription:
                    await subscription.subscribe(Names(queue).deliveries_news)
                    async for message in messages(subscription):
                        if message["type"] in ("subscribe", "message"):
                            wake.set()
            except (redis.exceptions.RedisError, OSError) as error:
                log.debug(
                    "subscription_lost", "the subscription to due deliveries is lost", error=error
                )
            await asyncio.sleep(_RECONNECT_S)
