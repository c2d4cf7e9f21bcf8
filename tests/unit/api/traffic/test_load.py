"""How busy the queue is, asked once for all who want to know."""

import asyncio
import threading

import pytest

from api.traffic.load import QueueLoadCache
from sluice.errors import RedisUnavailable
from sluice.ledger.predictions import QueueLoad
from tests.fakes.ledger import MemoryLedger

pytestmark = pytest.mark.anyio


class Slow(MemoryLedger):
    """Answers once it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go, self.away = 0, threading.Event(), True

    def load(self) -> QueueLoad:
        self.asked += 1
        assert self.go.wait(10)
        if self.away:
            raise RedisUnavailable("away")
        return super().load()


async def test_many_who_ask_at_once_are_one_question() -> None:
    ledger = Slow()
    queue_load = QueueLoadCache(ledger)
    asking = [asyncio.create_task(queue_load.load()) for _ in range(50)]
    await asyncio.sleep(0.05)
    asking[0].cancel()  # whoever asked first may be gone: the others' answer still comes
    ledger.go.set()
    ends = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(ends[0], asyncio.CancelledError)
    assert all(isinstance(end, RedisUnavailable) for end in ends[1:])
    assert ledger.asked == 1
    ledger.away = False
    assert (await queue_load.load()).live == 0
    await queue_load.load()
    assert ledger.asked == 2, "an answer is believed for a while, a failure is not"
