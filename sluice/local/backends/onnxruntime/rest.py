"""Calls a function once after each time of work. The module knows nothing of Triton."""

import threading
import time
from collections.abc import Callable


class Rest:
    """Calls `begin` when there was no work for `after_s`, up to twice that.

    An idle process is not woken again: the thread sleeps until there is work.
    """

    def __init__(
        self,
        begin: Callable[[], None],
        after_s: float,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._begin = begin
        self._after_s = after_s
        self._sleep = sleep
        self._worked = threading.Event()
        threading.Thread(target=self._watch, name="rest", daemon=True).start()

    def end(self) -> None:
        """There is work."""
        # A look costs less than the event's lock, and work comes often.
        if not self._worked.is_set():
            self._worked.set()

    def _watch(self) -> None:
        while True:
            self._worked.wait()
            while self._worked.is_set():
                self._worked.clear()
                self._sleep(self._after_s)
            self._begin()
