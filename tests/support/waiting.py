"""Waiting for something that another thread or process does."""

import time
from collections.abc import Callable


def until(condition: Callable[[], object], timeout_s: float = 60, *, every_s: float = 0.05) -> None:
    """Return once `condition` holds. Raises AssertionError after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"waited for more than {timeout_s:g} s"
        time.sleep(every_s)
