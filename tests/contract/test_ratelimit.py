"""The contract of `RateLimiter`, in Redis and in memory, on a test's clock and on the real one."""

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from sluice.access.ratelimit import RateLimiter, RedisRateLimiter
from sluice.errors import RateLimited, RedisUnavailable
from sluice.redisio import connection
from sluice.settings import RedisAddress
from tests.fakes.ratelimit import MemoryRateLimiter
from tests.support.servers import free_port

NOW_US = 1_800_000_000_000_000

RATES = st.integers(1, 1_000_000_000).map(lambda per_s: per_s / 1000) | st.sampled_from(
    [0.001, 1 / 3, 3.0, 7.0, 1_000_000.0]
)
BURSTS = st.integers(1, 20) | st.just(1_000_000)
STEPS_US = st.lists(
    st.integers(0, 3) | st.integers(0, 2_000_000) | st.integers(0, 10**13), min_size=1, max_size=30
)


@dataclass
class World:
    """A limiter on a clock that moves only when it is set."""

    limiter: RateLimiter
    tell: Callable[[int], Any]
    now_us: int = NOW_US

    def set(self, now_us: int) -> None:
        self.now_us = now_us
        self.tell(now_us)

    def wait_us(self, name: str, rate_per_s: float, burst: int) -> int:
        """The wait that the limiter asks for; 0 where it counts a submission."""
        try:
            self.limiter.take(name, rate_per_s, burst)
        except RateLimited as error:
            return round(error.retry_after_s * 1_000_000)
        return 0


def _redis_world(client: "redis.Redis") -> World:
    limiter = RedisRateLimiter(
        client, "default", "redis.call('HMGET', '{default}:clock', 's', 'us')"
    )
    return World(
        limiter,
        lambda now: client.hset("{default}:clock", mapping={"s": now // 10**6, "us": now % 10**6}),
    )


def _memory_world() -> World:
    world = World(MemoryRateLimiter(lambda: world.now_us), lambda now: None)
    return world


@pytest.fixture(params=["redis", "memory"])
def world(request: pytest.FixtureRequest) -> World:
    world = (
        _memory_world()
        if request.param == "memory"
        else _redis_world(request.getfixturevalue("redis_client"))
    )
    world.set(NOW_US)
    return world


@pytest.fixture(params=["redis", "memory"])
def limiter(request: pytest.FixtureRequest) -> RateLimiter:
    """A limiter on the real clock."""
    if request.param == "memory":
        return MemoryRateLimiter()
    return RedisRateLimiter(request.getfixturevalue("redis_client"), "default")


def test_a_burst_is_allowed_and_then_the_rate(world: World) -> None:
    assert [world.wait_us("a", 4, 3) for _ in range(4)] == [0, 0, 0, 250_000]
    world.set(NOW_US + 249_999)
    assert world.wait_us("a", 4, 3) == 1
    world.set(NOW_US + 250_000)
    assert [world.wait_us("a", 4, 3) for _ in range(2)] == [0, 250_000]
    world.set(NOW_US + 10_000_000)
    assert [world.wait_us("a", 4, 3) for _ in range(4)] == [0, 0, 0, 250_000]


def test_a_refused_submission_does_not_count(world: World) -> None:
    assert [world.wait_us("a", 1, 1) for _ in range(5)] == [0, *[1_000_000] * 4]
    world.set(NOW_US + 1_000_000)
    assert world.wait_us("a", 1, 1) == 0


def test_each_name_has_its_own_limit(world: World) -> None:
    assert [world.wait_us(name, 1, 1) for name in ("a", "b", "a")] == [0, 0, 1_000_000]


def test_changed_limits_count_at_once(world: World) -> None:
    assert [world.wait_us("a", 1, 3) for _ in range(3)] == [0, 0, 0]
    assert world.wait_us("a", 1, 2) == 2_000_000
    assert world.wait_us("a", 10, 2) == 200_000
    assert world.wait_us("a", 10, 4) == 0


def test_a_clock_that_is_set_back_refuses_no_caller_for_long(world: World) -> None:
    assert world.wait_us("a", 1, 1) == 0
    world.set(NOW_US - 3_600_000_000)
    assert world.wait_us("a", 1, 1) == 1_000_000
    world.set(NOW_US - 3_599_000_000)
    assert world.wait_us("a", 1, 1) == 0


def test_the_error_says_when_to_try_again(world: World) -> None:
    world.limiter.take("a", 0.25, 1)
    with pytest.raises(RateLimited, match=r"0\.25 a second; try again in 4\.000 s") as caught:
        world.limiter.take("a", 0.25, 1)
    assert caught.value.retry_after_s == 4


def test_no_span_of_time_has_more_than_the_burst_and_the_rate(world: World) -> None:
    @given(RATES, BURSTS.filter(lambda burst: burst <= 20), STEPS_US)
    def holds(rate_per_s: float, burst: int, steps_us: list[int]) -> None:
        name, taken, now = uuid.uuid4().hex, [], NOW_US
        for step in steps_us:
            now += step
            world.set(now)
            for _ in range(3):
                if world.wait_us(name, rate_per_s, burst) == 0:
                    taken.append(now)
        exact = Fraction(round(rate_per_s * 1000), 1000)
        for first in range(len(taken)):
            for last in range(first, len(taken)):
                assert last - first + 1 <= burst + exact * (taken[last] - taken[first]) / 10**6

    holds()


def test_a_caller_that_waits_as_told_is_never_refused_and_waits_no_longer_than_needed(
    world: World,
) -> None:
    @given(RATES, BURSTS.filter(lambda burst: burst <= 20), STEPS_US)
    def holds(rate_per_s: float, burst: int, steps_us: list[int]) -> None:
        name, now = uuid.uuid4().hex, NOW_US
        world.set(now)
        for step in steps_us:
            now += step
            world.set(now)
            wait = world.wait_us(name, rate_per_s, burst)
            if wait:
                world.set(now + wait - 1)
                assert world.wait_us(name, rate_per_s, burst) == 1
                now += wait
                world.set(now)
                assert world.wait_us(name, rate_per_s, burst) == 0

    holds()


@pytest.mark.parametrize("rate_per_s", [3, 7, 999_983])
def test_thousands_of_submissions_at_the_rate_do_not_drift(world: World, rate_per_s: int) -> None:
    """Each submission comes as soon as it is allowed; the last one is exact to the microsecond.

    A burst of 1 would drift: a caller never regains the time that the clock's steps cost.
    """
    now, count, burst = NOW_US, 3000, 2
    for _ in range(count):
        while wait := world.wait_us("a", rate_per_s, burst):
            now += wait
            world.set(now)
    assert now - NOW_US == -(-(count - burst) * 10**6 // rate_per_s)


def test_random_calls_give_the_same_answers_from_both_limiters(redis_client: "redis.Redis") -> None:
    real, fake = _redis_world(redis_client), _memory_world()

    @given(
        st.lists(
            st.tuples(st.sampled_from("ab"), RATES, BURSTS, st.integers(-(10**7), 10**7)),
            max_size=30,
        )
    )
    def holds(calls: list[tuple[str, float, int, int]]) -> None:
        run, now = uuid.uuid4().hex, NOW_US
        for name, rate_per_s, burst, step in calls:
            now += step
            real.set(now)
            fake.set(now)
            assert real.wait_us(run + name, rate_per_s, burst) == fake.wait_us(
                run + name, rate_per_s, burst
            )

    holds()


def test_many_threads_at_once_keep_to_the_burst(limiter: RateLimiter) -> None:
    ready, taken = threading.Barrier(8), []

    def hurry() -> None:
        ready.wait(10)
        for _ in range(10):
            try:
                limiter.take("a", 0.001, 20)
                taken.append(1)
            except RateLimited:
                pass

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(hurry) for _ in range(8)]:
            future.result()
    assert len(taken) == 20


def test_on_the_real_clock_a_refused_caller_is_allowed_after_its_wait(limiter: RateLimiter) -> None:
    limiter.take("a", 20, 1)
    for _ in range(5):
        with pytest.raises(RateLimited) as caught:
            limiter.take("a", 0.001, 1)
        assert 0 < caught.value.retry_after_s <= 1000
        time.sleep(0.06)
        limiter.take("a", 20, 1)


def test_a_level_is_kept_in_redis_as_long_as_it_counts(redis_client: "redis.Redis") -> None:
    limiter = RedisRateLimiter(redis_client, "default")
    for _ in range(3):
        limiter.take("camera-7", 0.01, 5)
    assert redis_client.keys("*") == [b"{default}:rate:camera-7"]
    assert 300 < redis_client.ttl("{default}:rate:camera-7") <= 360


def test_an_unavailable_redis_raises_redis_unavailable_without_its_address() -> None:
    client = connection.connect(RedisAddress(port=free_port(), password="secret"))
    with pytest.raises(RedisUnavailable) as caught:
        RedisRateLimiter(client, "default").take("a", 1, 1)
    assert "secret" not in str(caught.value)
