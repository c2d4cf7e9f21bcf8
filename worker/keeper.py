"""Puts right what a crash left: lapsed leases, lost messages, passed deadlines, and this process itself when it hears nothing.

Every worker keeps, and so does a process of its own (`keeper_app.py`); a sweep is atomic, so that several at once do no harm, and a
bell too many finds nothing to claim.
"""

import logging
import random
import threading
import time
from collections.abc import Callable

from sluice.blobs.store import Blobs, input_key
from sluice.errors import SluiceError, Unavailable
from sluice.intake.doorbell import MAX_WAITING_RINGS, Doorbell
from sluice.ledger.predictions import Ledger, Swept
from worker.runner import Runner
from worker.watchdog import LeaseWatchdog, replace_process

log = logging.getLogger(__name__)

_SWEEPING_S = 2.0  # of one round, so that the process shows in between that it is well


def keep(ledger: Ledger, blobs: Blobs, doorbell: Doorbell, dead_retention_s: int) -> Swept:
    """One round. Raises Unavailable; the next round names the dead letters again whose images were not kept, and the image of what
    was aborted expires by itself.
    """
    swept = _sweep_all(ledger)
    for prediction_id in swept.requeued:
        log.warning("prediction %s is queued again: its lease lapsed", prediction_id)
    if swept.due:  # before what needs the blob store, which may be away
        for _ in range(min(MAX_WAITING_RINGS, swept.due) - doorbell.waiting()):
            doorbell.ring()
    for prediction_id in swept.dead:
        log.error(
            "prediction %s is a dead letter: it took its worker down each time", prediction_id
        )
        blobs.keep(input_key(prediction_id, ledger.get(prediction_id).digest), dead_retention_s)
        ledger.mark_image_kept(prediction_id)
    for prediction_id in swept.aborted:
        log.warning("prediction %s is aborted: it did not start in time", prediction_id)
    blobs.delete(*map(input_key, swept.aborted, swept.digests))
    return swept


def _sweep_all(ledger: Ledger) -> Swept:
    """Sweep on while something is left over, each time for so short that Redis serves others in between."""
    until = time.monotonic() + _SWEEPING_S
    swept = ledger.sweep()
    while swept.remaining and time.monotonic() < until:
        before, swept = swept, ledger.sweep()
        swept = swept._replace(
            requeued=before.requeued + swept.requeued,
            aborted=before.aborted + swept.aborted,
            digests=before.digests + swept.digests,
        )
    return swept


class Keeper:
    """Keeps every `interval_s`, a little off beat so that workers started together spread.

    `on_stuck` is called when predictions wait and nothing has reached this process for `stuck_after_s`: its connection to the
    broker hangs. While Redis is away no round gets so far, so that an outage is not taken for it.
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
        self._well_since = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(
            timeout=1
        )  # it may be waiting for what runs here; the process ends all the same

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s * random.uniform(0.8, 1.0)):
            try:
                self._ledger.heartbeat(self._runner.worker, 4 * self._interval_s)
                swept = keep(self._ledger, self._blobs, self._doorbell, self._dead_retention_s)
                self._look_after_itself(swept)
                for _ in range(swept.due_alone):
                    if self._stopped.is_set() or not self._runner.run_one_alone():
                        break
            except Unavailable as error:
                self._well_since = time.monotonic()
                log.warning("the keeper skips a round: %s", error)
            except SluiceError as error:
                log.warning("the keeper's round ended early: %s", error)
            except Exception:
                log.exception("the keeper's round failed; the next one comes")

    def _look_after_itself(self, swept: Swept) -> None:
        now = time.monotonic()
        if not swept.due or self._watchdog.busy:
            self._well_since = now
        if now - max(self._well_since, self._runner.last_called_at) > self._stuck_after_s:
            log.error(
                "%d predictions wait and nothing reaches this process: it ends, to be started anew",
                swept.due,
            )
            self._on_stuck()
