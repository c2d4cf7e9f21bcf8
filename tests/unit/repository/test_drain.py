"""Waiting for the last predictions of a model."""

import pytest

from sluice.errors import RedisUnavailable, RepositoryError
from sluice.repository.drain import Drain


class Usage:
    """Answers one count after the other."""

    def __init__(self, *counts: int | RedisUnavailable) -> None:
        self._counts = list(counts)

    def count(self, model: str) -> int:
        answer = self._counts.pop(0) if len(self._counts) > 1 else self._counts[0]
        if isinstance(answer, RedisUnavailable):
            raise answer
        return answer


class Clock:
    """A clock that only sleep moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def _wait(clock: Clock, *counts: int | RedisUnavailable) -> None:
    drain = Drain(
        Usage(*counts), settle_s=10, timeout_s=60, sleep=clock.sleep, clock=lambda: clock.now
    )
    drain.wait("m")


def test_the_wait_ends_with_the_last_prediction() -> None:
    clock = Clock()
    _wait(clock, 2, 1, 0)
    assert 10 < clock.now < 15


def test_the_api_gets_time_to_notice_first() -> None:
    clock = Clock()
    _wait(clock, 0)
    assert clock.now == 10


def test_the_wait_is_bounded() -> None:
    clock = Clock()
    with pytest.raises(RepositoryError, match="1 predictions of 'm' are still queued"):
        _wait(clock, 1)
    assert 70 < clock.now < 75


def test_without_redis_the_model_stays() -> None:
    with pytest.raises(RepositoryError, match="SLUICE_REDIS_URL"):
        _wait(Clock(), RedisUnavailable("Redis is unavailable"))
