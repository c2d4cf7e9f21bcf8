"""The keeper: repairs what a crash left, such as lapsed leases, lost messages and missed deadlines.

Every worker runs a keeper, and so does `keeper_process.py`. Sweeps are atomic, so that several
keepers may run at once. A ring too many wakes a worker that finds no prediction due.
"""

import threading
import time
from collections.abc import Callable

from sluice import logs
from sluice.blobs.store import Blobs
from sluice.intake.doorbell import Doorbell
from sluice.ledger.answers import Swept
from sluice.ledger.predictions import Ledger
from sluice.metrics.sweeps import SweepMetrics
from worker.rounds import attempt_round, spread, sweep_round
from worker.runner import Runner
from worker.watchdog import LeaseWatchdog, replace_process

log = logs.get(__name__)

#: A worker that starts may take longer by this factor, as on a machine where many start at once.
_START_FACTOR = 5


class Keeper:
    """A worker's keeper: runs a round every `interval_s`, and the predictions that must run alone.

    The interval varies a little, so that workers started together spread their rounds.
    A worker is stuck when predictions wait and no message reaches it for `stuck_after_s`.
    Then its connection to the broker hangs, and `on_stuck` is called.
    Until `takes_messages` says that the worker has started, five times as long is allowed.
    An outage of Redis does not count: each failed round restarts the clock.
    `is_troubled` says whether this worker lacks Triton or the blob store; each round tells it.
    `report` is called once a round, for the timeline.
    """

    def __init__(
        self,
        ledger: Ledger,
        blobs: Blobs,
        doorbell: Doorbell,
        runner: Runner,
        watchdog: LeaseWatchdog,
        *,
        interval_s: float,
        dead_retention_s: int,
        stuck_after_s: float = float("inf"),
        on_stuck: Callable[[], None] = replace_process,
        is_troubled: Callable[[], bool] = lambda: False,
        report: Callable[[], None] = lambda: None,
        takes_messages: Callable[[], bool] = lambda: True,
        metrics: SweepMetrics | None = None,
    ) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._doorbell = doorbell
        self._runner = runner
        self._watchdog = watchdog
        self._interval_s = interval_s
        self._dead_retention_s = dead_retention_s
        self._stuck_after_s = stuck_after_s
        self._on_stuck = on_stuck
        self._is_troubled = is_troubled
        self._report = report
        self._takes_messages = takes_messages
        self._has_started = False
        self._metrics = metrics or SweepMetrics()
        self._well_since = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        # The thread may wait for a prediction; the process ends all the same.
        self._thread.join(timeout=1)

    def _run(self) -> None:
        pause_s = spread(self._interval_s)
        while not self._stopped.wait(pause_s):
            pause_s = attempt_round(
                self._round, self._interval_s, self._restart_clock, self._metrics
            )

    def _restart_clock(self) -> None:
        self._well_since = time.monotonic()

    def _round(self) -> None:
        self._ledger.heartbeat(
            self._runner.worker, 4 * self._interval_s, troubled=self._is_troubled()
        )
        swept = sweep_round(
            self._ledger, self._blobs, self._doorbell, self._dead_retention_s, self._metrics
        )
        self._end_if_stuck(swept)
        self._report()
        for _ in range(swept.due_alone):
            if self._stopped.is_set() or not self._runner.run_one_alone():
                break

    def _end_if_stuck(self, swept: Swept) -> None:
        now = time.monotonic()
        if not self._has_started and self._takes_messages():
            self._has_started = True
            self._well_since = now
        if not swept.due or self._watchdog.busy:
            self._well_since = now
        limit_s = self._stuck_after_s * (1 if self._has_started else _START_FACTOR)
        if now - max(self._well_since, self._runner.last_called_at) > limit_s:
            log.error(
                "worker_stuck",
                "predictions wait, and no message reaches this process, which ends",
                waiting=swept.due,
            )
            self._on_stuck()
