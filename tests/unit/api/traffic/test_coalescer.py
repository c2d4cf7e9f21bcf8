import asyncio

import pytest

from api.traffic.coalescer import Coalescer
from sluice.errors import RedisUnavailable

pytestmark = pytest.mark.anyio


async def test_the_first_rings_at_once_and_later_ones_share_a_ring() -> None:
    rings = 0

    async def ring() -> None:
        nonlocal rings
        rings += 1

    coalescer = Coalescer(ring)
    coalescer("a")
    while not rings:
        await asyncio.sleep(0)
    for name in "bcd":
        coalescer(name)
    while rings == 1:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    assert rings in (2, 3), "the gap may be over before `b` comes"


async def test_a_ring_that_fails_is_logged_and_the_next_one_rings(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rings = 0

    async def ring() -> None:
        nonlocal rings
        rings += 1
        if rings == 1:
            raise RedisUnavailable("Redis is away")

    coalescer = Coalescer(ring)
    for number in (1, 2):
        coalescer(f"p{number}")
        while rings < number:
            await asyncio.sleep(0.001)
    (record,) = caplog.records
    assert "no worker was woken" in record.getMessage()
