import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.traffic.coalescer import Coalescer

pytestmark = pytest.mark.anyio


async def test_the_first_rings_and_those_that_come_meanwhile_share_the_next() -> None:
    rung: list[str] = []
    with ThreadPoolExecutor(1) as threads:
        bell = Coalescer(rung.append, threads)
        bell("a")
        while rung != ["a"]:
            await asyncio.sleep(0.001)
        for name in "bcd":
            bell(name)
        while rung[-1] != "d":
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
    assert rung in (["a", "d"], ["a", "b", "d"]), "the gap may be over before the first of them"
