"""The messages of a subscription, and the end of one that has gone silent."""

from collections.abc import AsyncIterator
from typing import Any

import redis.asyncio
from redis.exceptions import TimeoutError

_SILENCE_S = 1.5
"""After this time without a message, Redis is asked whether it still answers."""


async def messages(subscription: "redis.asyncio.client.PubSub") -> AsyncIterator[dict[str, Any]]:
    """Yield each message, those of type `subscribe` too: messages before it may have been missed.

    Raises RedisError or OSError once Redis does not answer, and then yields no more.
    """
    asked = False
    while True:
        message = await subscription.get_message(timeout=_SILENCE_S)
        if message is not None:
            yield message
        elif asked:  # a connection that a firewall forgot has no end of its own
            raise TimeoutError("Redis did not answer in time")
        else:
            await subscription.ping()
        asked = message is None
