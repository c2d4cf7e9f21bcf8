"""The open long polls and streams of the process: how many, and how often they read."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

from sluice.errors import Overloaded

_READS_PER_S = 200
"""Of all followers together, apart from those that an event wakes."""
_RETRY_AFTER_S = 5.0


class Followers:
    """Counts followers up to `most`."""

    def __init__(self, most: int) -> None:
        self.count = 0
        self._most = most

    @property
    def is_full(self) -> bool:
        return self.count >= self._most

    def check_room(self) -> None:
        """Raises Overloaded."""
        if self.is_full:
            raise Overloaded(
                f"this process has {self.count} open streams and long polls, and takes no more;"
                " try again later",
                _RETRY_AFTER_S,
            )

    @contextmanager
    def one_more(self) -> Iterator[None]:
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1

    def pause_s(self, least_s: float, reads: int = 1) -> float:
        """The time until a follower makes its `reads` again where no event wakes it.

        The times are spread, or all followers would read at once after an outage.
        """
        return max(least_s, reads * self.count / _READS_PER_S) * random.uniform(0.8, 1.2)
