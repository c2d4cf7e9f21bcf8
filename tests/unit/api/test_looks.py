"""Those who wait do not each wait out a Redis that hangs."""

import asyncio
import threading

import anyio.to_thread
import pytest

from api.looks import Looks
from sluice.errors import RedisUnavailable

pytestmark = pytest.mark.anyio


async def test_who_was_in_line_fails_with_the_first() -> None:
    hangs, calls, away = threading.Event(), [], True

    def get(followed_id: str, key: str) -> str:
        calls.append(followed_id)
        if away:
            hangs.wait(10)
            raise RedisUnavailable("away")
        return followed_id

    looks = Looks()
    waiting = [asyncio.create_task(looks.look(get, str(number), "k")) for number in range(500)]
    while not calls:
        await asyncio.sleep(0.01)
    assert await anyio.to_thread.run_sync(lambda: "others have threads") == "others have threads"
    hangs.set()
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(end, RedisUnavailable) for end in ends)
    assert len(calls) < 40
    away = False
    assert await looks.look(get, "later", "k") == "later"
