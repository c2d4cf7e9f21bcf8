"""Changes of status as the ledger publishes them: one subscription a process, and no polling."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Protocol

import redis.exceptions

from sluice import logs
from sluice.prediction import Status
from sluice.redisio.connection import connect_for_subscriptions
from sluice.redisio.names import Names
from sluice.redisio.subscriptions import messages
from sluice.settings import RedisAddress

log = logs.get(__name__)

_RECONNECT_S = 1.0
_STATUSES = {status.value: status for status in Status}
RECENT_ENDS = 4096
"""The ends that are remembered. Only those of the last few milliseconds are ever asked for."""


class Events(Protocol):
    """Waiting for a change of a prediction or batch.

    An event may get lost, so a waiting caller still reads the record now and then.
    """

    @property
    def closing(self) -> bool:
        """True once the process is about to end: nobody should wait any more."""

    def start(self) -> None:
        """Listen, on the running event loop."""

    async def stop(self) -> None:
        """Stop listening and close the connection."""

    def close(self) -> None:
        """Wake all waiting callers and set `closing`: the process is about to end."""

    def expect(
        self, subject_id: str, *, every_change: bool = False
    ) -> contextlib.AbstractContextManager[asyncio.Event]:
        """An event that is set when the prediction or batch ends, or may have ended.

        The event is set at once for an end that came shortly before: a caller that knows a record
        from its submission need not read the record again before the wait.
        With `every_change`, every change of status sets it; the caller clears it before the next
        wait. Enter before the record is read, or a change in between is missed.
        """


class RedisEvents:
    """One subscription to the channel `{queue}:events`."""

    def __init__(self, address: RedisAddress, queue: str) -> None:
        self._redis = connect_for_subscriptions(address)
        self._channel = Names(queue).events
        #: For each subject, the events of its waiting callers, and whether every change sets them.
        self._waiting: dict[str, dict[asyncio.Event, bool]] = defaultdict(dict)
        self._ended: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None
        self.closing = False

    def start(self) -> None:
        self._task = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._redis.aclose()

    def close(self) -> None:
        self.closing = True
        self._wake()

    @contextlib.contextmanager
    def expect(self, subject_id: str, *, every_change: bool = False) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        if subject_id in self._ended:
            event.set()
        self._waiting[subject_id][event] = every_change
        try:
            yield event
        finally:
            del self._waiting[subject_id][event]
            if not self._waiting[subject_id]:
                del self._waiting[subject_id]

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    await subscription.subscribe(self._channel)
                    await self._hear(subscription)
            except (redis.exceptions.RedisError, OSError) as error:
                log.debug("subscription_lost", "the subscription to events is lost", error=error)
            await asyncio.sleep(_RECONNECT_S)

    async def _hear(self, subscription: "redis.asyncio.client.PubSub") -> None:
        """Tell of each message. Raises RedisError or OSError once Redis does not answer."""
        async for message in messages(subscription):
            if message["type"] == "subscribe":
                self._wake()  # events may have been missed
            elif message["type"] == "message":
                subject_id, _, status = message["data"].decode(errors="replace").partition(" ")
                self._tell(subject_id, _STATUSES.get(status))

    def _tell(self, subject_id: str, status: Status | None) -> None:
        """Set the events of the subject. None: a newer version's status, which may be an end."""
        terminal = status is not None and status.terminal
        if terminal:
            self._ended[subject_id] = None
            if len(self._ended) > RECENT_ENDS:
                del self._ended[next(iter(self._ended))]
        for event, every_change in self._waiting.get(subject_id, {}).items():
            if every_change or terminal or status is None:
                event.set()

    def _wake(self) -> None:
        for events in self._waiting.values():
            for event in events:
                event.set()
