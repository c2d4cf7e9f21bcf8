"""Runs requests side by side, each on a lane of its own, in the order of their arrival.

One run on several threads costs more processor time than on one thread: the threads wait for each
other at the end of each operator. The module knows nothing of Triton.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Feed = dict[str, Any]  # an array by the name of its input
Run = Callable[[list[str], Feed], list[Any]]
Job = Callable[[Run], None]


class Lanes:
    """A thread for each of `runs`. Each thread calls its jobs with its own run.

    A job must not raise. The calls below come from one thread.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self._waiting: deque[Job] = deque()
        self._running = 0
        self._changed = threading.Condition()
        for number, run in enumerate(runs):
            threading.Thread(
                target=self._serve, args=(run,), name=f"lane-{number}", daemon=True
            ).start()

    @property
    def idle(self) -> bool:
        """True when all jobs have ended."""
        with self._changed:
            return not self._waiting and not self._running

    def start(self, jobs: Iterable[Job]) -> None:
        """Return when a lane has taken each of the jobs.

        The next requests then wait in Triton, where the limits of its queue hold.
        """
        with self._changed:
            self._waiting.extend(jobs)
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting)

    def finish(self) -> None:
        """Return when all jobs have ended."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._running)

    def _serve(self, run: Run) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                job = self._waiting.popleft()
                self._running += 1
                if not self._waiting:
                    self._changed.notify_all()
            job(run)
            with self._changed:
                self._running -= 1
                if not self._running:
                    self._changed.notify_all()
