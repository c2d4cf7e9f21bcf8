import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.traffic.coalescer import Coalescer

pytestmark = pytest.mark.anyio


async def test_the_first_rings_at_once_and_later_ones_share_a_ring() -> None:
    rung: list[str] = []
    with ThreadPoolExecutor(1) as threads:
        coalescer = Coalescer(rung.append, threads)
        coalescer("a")
        while rung != ["a"]:
            await asyncio.sleep(0.001)
        for name in "bcd":
            coalescer(name)
        while rung[-1] != "d":
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
    assert rung in (["a", "d"], ["a", "b", "d"]), "the gap may be over before `b` comes"
