"""While Redis hangs, waiting calls do not wait one timeout after another."""

import asyncio
import threading

import anyio.to_thread
import pytest

from api.traffic.bulkhead import Bulkhead
from sluice.errors import BlobsUnavailable, QueueFull, RedisUnavailable

pytestmark = pytest.mark.anyio


async def test_waiting_calls_fail_with_the_first() -> None:
    hangs, calls, away = threading.Event(), [], True

    def get(subject_id: str, key: str) -> str:
        calls.append(subject_id)
        if away:
            hangs.wait(10)
            raise RedisUnavailable("away")
        return subject_id

    bulkhead = Bulkhead(16)
    waiting = [asyncio.create_task(bulkhead.run(get, str(number), "k")) for number in range(500)]
    while not calls:
        await asyncio.sleep(0.01)
    assert await anyio.to_thread.run_sync(lambda: "others have threads") == "others have threads"
    hangs.set()
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(end, RedisUnavailable) for end in ends)
    assert len(calls) < 40
    away = False
    assert await bulkhead.run(get, "later", "k") == "later"


async def test_only_a_failed_store_fails_the_waiting_calls() -> None:
    begun, go = threading.Event(), threading.Event()

    def refuse(error: Exception) -> None:
        begun.set()
        go.wait(10)
        raise error

    for error, others in ((QueueFull("full"), None), (BlobsUnavailable("away"), BlobsUnavailable)):
        bulkhead = Bulkhead(1)
        first = asyncio.create_task(bulkhead.run(refuse, error))
        await asyncio.to_thread(begun.wait, 10)
        second = asyncio.create_task(bulkhead.run(lambda: "mine"))
        await asyncio.sleep(0)
        go.set()
        ends = await asyncio.gather(first, second, return_exceptions=True)
        assert ends[0] is error
        assert ends[1] == "mine" if others is None else isinstance(ends[1], others)
        begun.clear()
        go.clear()
