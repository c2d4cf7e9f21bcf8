"""Waiting for a prediction's end, or its next change, without asking again and again: the ledger's events, heard once a process."""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Iterator

import redis.asyncio
import redis.exceptions

from sluice.prediction import Status

log = logging.getLogger(__name__)

_RECONNECT_S = 1.0


class Events:
    """One subscription to a queue's `{queue}:events`. An event may get lost, so whoever waits still looks now and then."""

    def __init__(self, redis_url: str, queue: str, *, connect_timeout_s: float) -> None:
        self._redis = redis.asyncio.Redis.from_url(
            redis_url,
            socket_connect_timeout=connect_timeout_s,
            socket_keepalive=True,
            health_check_interval=5,
        )
        self._channel = f"{{{queue}}}:events"
        self._waiting: dict[str, dict[asyncio.Event, bool]] = defaultdict(
            dict
        )  # and whether any change will do
        self._task: asyncio.Task[None] | None = None
        self.closing = False

    def close(self) -> None:
        """Wake all who wait, and let nobody wait any more: the process is about to end."""
        self.closing = True
        for events in self._waiting.values():
            for event in events:
                event.set()

    def start(self) -> None:
        """Listen, on the running event loop."""
        self._task = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._redis.aclose()

    @contextlib.contextmanager
    def expect(self, prediction_id: str, *, every_change: bool = False) -> Iterator[asyncio.Event]:
        """An event that is set when the prediction ends, or at every change of its status; who waits for the next one clears it.

        Enter before you look at the record, or what you wait for may fall in between.
        """
        event = asyncio.Event()
        self._waiting[prediction_id][event] = every_change
        try:
            yield event
        finally:
            del self._waiting[prediction_id][event]
            if not self._waiting[prediction_id]:
                del self._waiting[prediction_id]

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(self._channel)
                    async for message in subscription.listen():
                        prediction_id, status = message["data"].decode().split(" ")
                        for event, every_change in self._waiting.get(prediction_id, {}).items():
                            if every_change or Status(status).terminal:
                                event.set()
            except (redis.exceptions.RedisError, OSError) as error:
                log.debug("events are not heard: %s", error)
            await asyncio.sleep(_RECONNECT_S)
