"""Senders hear of due deliveries, also after their connection has gone silent."""

import asyncio
import contextlib
from dataclasses import replace

import pytest
import redis

from sluice.redisio.names import Names
from sluice.settings import RedisAddress
from tests.support.link import Link
from worker.webhooks_process import listen

pytestmark = pytest.mark.anyio

_WITHIN_S = 30.0
NEWS = Names("default").deliveries_news


async def _until_woken(wake: asyncio.Event) -> None:
    async with asyncio.timeout(_WITHIN_S):
        await wake.wait()
    wake.clear()


async def test_a_sender_hears_of_deliveries_after_its_subscription_went_silent(
    redis_url: str, redis_client: "redis.Redis"
) -> None:
    """A firewall on the way may forget connections: neither side learns of an end."""
    address = RedisAddress.parse(redis_url)
    with Link((address.host, address.port)).running() as link:
        wake = asyncio.Event()
        listening = asyncio.create_task(listen(replace(address, port=link.port), "default", wake))
        await _until_woken(wake)  # by the subscription: deliveries may have come before
        redis_client.publish(NEWS, "")
        await _until_woken(wake)
        with link.swallowing():
            await asyncio.sleep(0.1)
        await _until_woken(wake)
        redis_client.publish(NEWS, "")
        await _until_woken(wake)
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
