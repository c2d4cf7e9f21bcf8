"""The presence of workers: each subscribes in Redis for as long as its process lives.

`lua/presence.lua` tells how a worker that is gone is found.
"""

from typing import NamedTuple, Protocol

import redis

from sluice.ledger.scripts import load, queue_calls
from sluice.redisio.connection import translated
from sluice.redisio.names import Names
from sluice.redisio.scripts import run
from sluice.settings import QueueSettings

_PRESENCE = load("presence")
_CONFIRMATION_S = 5.0


class Look(NamedTuple):
    """The answer to `Presence.look`."""

    gone: tuple[str, ...] = ()
    """Workers whose processes have ended. Each is named once."""

    ended: int = 0
    """How many leases of theirs were ended. The next sweep queues their predictions again."""

    refusal: str = ""
    """Redis's answer where the user lacks a right. Then nobody is found gone."""


class Presence(Protocol):
    """The presence of one worker, or of none for a keeper, and a look at all others."""

    def look(self) -> Look:
        """Show that this worker is present, and find those that are gone.

        A worker is gone when its subscription has ended, and it was silent for `gone_after_s`.
        A paused process keeps its subscription. Raises RedisUnavailable.
        """

    def close(self) -> None:
        """End the subscription, as the end of the process does."""


class RedisPresence:
    """`worker` is the name that begins the owners of its claims; '' for a keeper without one."""

    def __init__(self, client: "redis.Redis", settings: QueueSettings, worker: str = "") -> None:
        self._redis = client
        self._worker = worker
        self._names = Names(settings.name)
        self._call = queue_calls(settings)
        self._subscription: redis.client.PubSub | None = None

    def look(self) -> Look:
        try:
            with translated():
                if self._worker:
                    self._subscribe()
                call = self._call(_PRESENCE, self._worker)
                refusal, heard, gone, ended = run(self._redis, call)
        except BaseException:
            self.close()
            raise
        if not heard:
            self.close()  # the next look subscribes again
        return Look(tuple(name.decode() for name in gone), ended, refusal.decode())

    def close(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()

    def _subscribe(self) -> None:
        if self._subscription is None:
            self._subscription = self._redis.pubsub()  # type: ignore[no-untyped-call]
            self._subscription.subscribe(self._names.worker(self._worker))
            self._subscription.get_message(timeout=_CONFIRMATION_S)
        # Nobody writes to the channel. The call sends a PING now and then, and reads its answer.
        self._subscription.get_message(timeout=0)
