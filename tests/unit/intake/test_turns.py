"""A bound for submissions in flight."""

import asyncio

import pytest

from sluice.errors import RedisUnavailable
from sluice.intake.turns import Turns


async def _hold(turns: Turns, held: list[int], end: "asyncio.Future[None]", number: int) -> None:
    async with turns:
        held.append(number)
        await end


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.anyio
async def test_no_more_than_the_bound_hold_a_turn_and_the_first_come_first() -> None:
    turns, held = Turns(2), list[int]()
    ends = [asyncio.get_running_loop().create_future() for _ in range(4)]
    tasks = [asyncio.create_task(_hold(turns, held, end, n)) for n, end in enumerate(ends)]
    await _settle()
    assert held == [0, 1]
    ends[1].set_result(None)
    await _settle()
    assert held == [0, 1, 2]
    for end in (ends[0], *ends[2:]):
        end.set_result(None)
    await asyncio.gather(*tasks)
    assert held == [0, 1, 2, 3]


@pytest.mark.anyio
async def test_a_failure_of_redis_ends_the_wait_of_all_others_at_once() -> None:
    turns, held = Turns(1), list[int]()
    ends = [asyncio.get_running_loop().create_future() for _ in range(4)]
    tasks = [asyncio.create_task(_hold(turns, held, end, n)) for n, end in enumerate(ends[:3])]
    await _settle()
    ends[0].set_exception(RedisUnavailable("gone"))
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in found] == [RedisUnavailable] * 3
    assert len({id(error) for error in found}) == 3, "each has its own"
    assert held == [0]
    ends[3].set_result(None)
    await _hold(turns, held, ends[3], 3)
    assert held == [0, 3], "the turn is free again"


@pytest.mark.anyio
async def test_another_error_ends_one_turn_only() -> None:
    turns, held = Turns(1), list[int]()
    ends = [asyncio.get_running_loop().create_future() for _ in range(2)]
    tasks = [asyncio.create_task(_hold(turns, held, end, n)) for n, end in enumerate(ends)]
    await _settle()
    ends[0].set_exception(ValueError("of this call"))
    ends[1].set_result(None)
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in found] == [ValueError, type(None)]


@pytest.mark.anyio
@pytest.mark.parametrize("came", [False, True])
async def test_a_caller_that_is_cancelled_keeps_no_turn(came: bool) -> None:
    turns, held = Turns(1), list[int]()
    ends = [asyncio.get_running_loop().create_future() for _ in range(3)]
    tasks = [asyncio.create_task(_hold(turns, held, end, n)) for n, end in enumerate(ends)]
    await _settle()
    if came:
        ends[0].set_result(None)
        await asyncio.sleep(0)  # the turn is given to the second, which has not run yet
    tasks[1].cancel()
    for end in ends:
        if not end.done():
            end.set_result(None)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert held[0] == 0
    assert held[-1] == 2
    await _hold(turns, held, ends[0], 3)
    assert held[-1] == 3
