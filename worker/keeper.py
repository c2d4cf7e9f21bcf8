"""Puts right what a crash left: lapsed leases, and predictions that wait while no message says so.

Every worker keeps; a sweep is atomic, so that several at once do no harm, and a bell too many finds nothing to claim.
"""

import logging
import random
import threading

from sluice.errors import Unavailable
from sluice.ledger import Ledger
from sluice.queue import Doorbell

log = logging.getLogger(__name__)

_RINGS_AT_MOST = 100  # a sweep; the next one rings again


def keep(ledger: Ledger, doorbell: Doorbell, max_lapses: int) -> None:
    """One round. Raises RedisUnavailable."""
    swept = ledger.sweep(max_lapses)
    for prediction_id in swept.requeued:
        log.warning("prediction %s is queued again: its lease lapsed", prediction_id)
    for prediction_id in swept.failed:
        log.error("prediction %s failed: its lease lapsed %d times", prediction_id, max_lapses)
    if swept.due:
        for _ in range(min(_RINGS_AT_MOST, swept.due - doorbell.waiting())):
            doorbell.ring()


class Keeper:
    """Calls `keep` every `interval_s`, a little off beat so that workers started together spread."""

    def __init__(self, ledger: Ledger, doorbell: Doorbell, *, max_lapses: int, interval_s: float) -> None:
        self._ledger = ledger
        self._doorbell = doorbell
        self._max_lapses = max_lapses
        self._interval_s = interval_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s * random.uniform(0.8, 1.0)):
            try:
                keep(self._ledger, self._doorbell, self._max_lapses)
            except Unavailable as error:
                log.warning("the keeper skips a round: %s", error)
            except Exception:
                log.exception("the keeper's round failed; the next one comes")
