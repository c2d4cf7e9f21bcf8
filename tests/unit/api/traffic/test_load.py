"""How busy the queue is, asked once for all who want to know."""

import asyncio
import threading

import pytest

from api.traffic.load import QueueLoadCache
from sluice.errors import RedisUnavailable
from sluice.ledger.answers import QueueLoad
from tests.fakes.ledger import MemoryLedger

pytestmark = pytest.mark.anyio


class Slow(MemoryLedger):
    """Answers once it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.go, self.away = 0, threading.Event(), True

    def load(self) -> QueueLoad:
        self.calls += 1
        assert self.go.wait(10)
        if self.away:
            raise RedisUnavailable("away")
        return super().load()


async def test_concurrent_reads_of_the_load_share_one_call() -> None:
    ledger = Slow()
    queue_load = QueueLoadCache(ledger)
    asking = [asyncio.create_task(queue_load.load()) for _ in range(50)]
    await asyncio.sleep(0.05)
    asking[0].cancel()  # the other callers still get their answer
    ledger.go.set()
    ends = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(ends[0], asyncio.CancelledError)
    assert all(isinstance(end, RedisUnavailable) for end in ends[1:])
    assert ledger.calls == 1
    ledger.away = False
    assert (await queue_load.load()).live == 0
    await queue_load.load()
    assert ledger.calls == 2, "a load is cached, a failure is not"
