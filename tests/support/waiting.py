"""Waiting for something that another thread or process does."""

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def until(
    condition: Callable[[], Result],
    timeout_s: float = 60,
    *,
    every_s: float = 0.05,
    what: str = "the condition",
) -> Result:
    """The first true result of `condition`. Raises AssertionError after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not (result := condition()):
        assert time.monotonic() < end, f"{what} did not come within {timeout_s:g} s"
        time.sleep(every_s)
    return result
