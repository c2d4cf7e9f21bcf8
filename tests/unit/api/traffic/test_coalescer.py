import asyncio
from contextlib import ExitStack

import pytest

from api.traffic.arrivals import Arrivals
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


class Burst:
    """A coalescer whose loop's clock stands still until the test moves it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arrives = True
        self.rings = 0
        self._late_s = 0.0
        loop = asyncio.get_running_loop()
        real = loop.time
        start = real()
        monkeypatch.setattr(loop, "time", lambda: start + self._late_s)
        self.ring = Coalescer(self._ring, lambda: self.arrives)

    async def _ring(self) -> None:
        self.rings += 1

    async def pass_ms(self, milliseconds: int) -> None:
        for _ in range(milliseconds):
            self._late_s += 0.001
            for _ in range(5):
                await asyncio.sleep(0)


@pytest.fixture
async def burst(monkeypatch: pytest.MonkeyPatch) -> Burst:
    return Burst(monkeypatch)


async def test_no_worker_is_woken_while_a_burst_is_accepted(burst: Burst) -> None:
    for number in range(6):
        burst.ring(f"p{number}")
        await burst.pass_ms(10)
    assert not burst.rings
    burst.arrives = False
    await burst.pass_ms(15)
    assert burst.rings == 6, "each ring wakes one thread of a worker"


async def test_a_burst_rings_no_more_often_than_without_the_wait(burst: Burst) -> None:
    for _ in range(4):
        for number in range(100):
            burst.ring(f"p{number}")
        await burst.pass_ms(10)
    burst.arrives = False
    await burst.pass_ms(10)
    assert 8 <= burst.rings <= 9


async def test_a_burst_without_end_wakes_a_worker_after_a_tenth_of_a_second(burst: Burst) -> None:
    for number in range(9):
        burst.ring(f"p{number}")
        await burst.pass_ms(10)
    assert not burst.rings
    for number in range(3):
        burst.ring(f"q{number}")
        await burst.pass_ms(10)
    assert burst.rings >= 10


async def test_slow_uploads_hold_up_nobody_for_long(burst: Burst) -> None:
    """Many bodies may take minutes to arrive, and nothing is accepted meanwhile."""
    burst.ring("p1")
    await burst.pass_ms(35)
    assert not burst.rings
    await burst.pass_ms(10)
    assert burst.rings == 1


async def test_a_moment_with_few_arrivals_is_no_end_of_the_burst(burst: Burst) -> None:
    burst.ring("p1")
    burst.arrives = False
    await burst.pass_ms(7)
    burst.ring("p2")
    await burst.pass_ms(7)
    burst.arrives = True
    await burst.pass_ms(7)
    assert not burst.rings


async def test_a_lone_submission_waits_for_no_burst(burst: Burst) -> None:
    burst.arrives = False
    burst.ring("p1")
    await burst.pass_ms(1)
    assert burst.rings == 1


def test_eight_submissions_at_once_are_a_burst() -> None:
    arrivals = Arrivals()
    with ExitStack() as stack:
        for _ in range(7):
            stack.enter_context(arrivals.counted())
        assert not arrivals.are_many()
        stack.enter_context(arrivals.counted())
        assert arrivals.are_many()
    assert not arrivals.are_many()
