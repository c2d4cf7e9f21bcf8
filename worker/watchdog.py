"""The worker's heartbeat and watchdog: renews leases and ends a process that hangs."""

import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sluice import logs
from sluice.errors import LeaseLost, Unavailable
from sluice.ledger.predictions import Ledger
from sluice.prediction import Claim

log = logs.get(__name__)

#: The exit status of a process that hangs: EX_SOFTWARE of sysexits.h. A supervisor restarts it.
EXIT_HUNG = 70

_BEAT_S = 0.5
_RENEW_S = 1.0  # more often than a lease needs: a renewal also notices a cancellation
_SILENCE_S = 30.0  # the limit for C code that holds the interpreter's lock


@dataclass
class HeldLease:
    """The lease of a prediction that runs in this process."""

    claim: Claim
    since: float
    """The start of the run, by `time.monotonic`."""
    renewed_at: float
    """The last renewal, by `time.monotonic`."""
    lost: bool = False
    """Another attempt owns the prediction, or the prediction has ended."""

    def log_line(self, text: str) -> str:
        """Return the line that this attempt adds to the prediction's logs."""
        return f"attempt {self.claim.prediction.attempts}: {text}"

    def check(self) -> None:
        """Raises LeaseLost once the lease is known to be lost."""
        if self.lost:
            raise LeaseLost(
                f"prediction {self.claim.prediction.id!r} was canceled, or its lease lapsed"
            )


def replace_process() -> None:
    """End this process now, with its hung threads. The supervisor starts another."""
    logging.shutdown()
    os._exit(EXIT_HUNG)


class LeaseWatchdog:
    """Renews the leases of the predictions that run here, on a thread of its own.

    `alive_file` is touched at each beat. A prediction that runs for longer than `max_run_s` hangs.
    Then the other predictions are queued again and `on_hang` is called.
    A hung thread can't be ended without its process.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        lease_s: float,
        max_run_s: float = float("inf"),
        alive_file: Path | None = None,
        silence_s: float = _SILENCE_S,
        on_hang: Callable[[], None] = replace_process,
    ) -> None:
        self._ledger = ledger
        self._lease_s = lease_s
        self._max_run_s = max_run_s
        self._alive_file = alive_file
        self._silence_s = silence_s
        self._on_hang = on_hang
        self._leases: dict[str, HeldLease] = {}
        self._unrecorded: dict[str, HeldLease] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    @property
    def busy(self) -> bool:
        """True while any prediction runs in this process."""
        return bool(self._leases)

    @property
    def running(self) -> int:
        """The number of predictions that run in this process."""
        return len(self._leases)

    @property
    def returning(self) -> bool:
        """True while a prediction waits for Redis to be queued again; see `give_back`."""
        return bool(self._unrecorded)

    def hold(self, claim: Claim) -> HeldLease:
        """Renew the lease of `claim` until `release`."""
        now = time.monotonic()
        lease = HeldLease(claim, now, now)
        with self._lock:
            self._leases[claim.owner] = lease
        return lease

    def release(self, lease: HeldLease) -> None:
        """Renew no more."""
        with self._lock:
            self._leases.pop(lease.claim.owner, None)

    def confirm(self, lease: HeldLease) -> None:
        """Renew the lease now, and count the run's time from here: a long run goes on well.

        Raises LeaseLost at once after a cancellation, which a beat would notice a second later.
        """
        try:
            self._ledger.renew(lease.claim, self._lease_s)
            lease.renewed_at = lease.since = time.monotonic()
        except LeaseLost:
            lease.lost = True
        except Unavailable as error:
            log.debug(
                "lease_not_renewed", "a lease was not renewed; a beat tries again", error=error
            )
        lease.check()

    def give_back(self, lease: HeldLease) -> None:
        """Queue its prediction again once Redis answers: the attempt's end could not be recorded.

        If the end is on record all the same, nothing is changed.
        """
        with self._lock:
            self._unrecorded[lease.claim.owner] = lease

    def requeue_all(self, *, but: HeldLease | None = None) -> None:
        """Queue again, at once, every prediction that runs here. No retry is counted."""
        for lease in self._held_leases():
            if lease is but:
                continue
            try:
                self._requeue(lease, "its worker stopped; queued again")
            except Unavailable as error:
                log.warning(
                    "prediction_not_requeued",
                    "a prediction was not queued again, and its lease will lapse",
                    **lease.claim.prediction.log_fields,
                    error=error,
                )
            lease.lost = True

    def _requeue(self, lease: HeldLease, why: str) -> None:
        """Raises Unavailable."""
        with suppress(LeaseLost):  # ended, or claimed by another worker
            self._ledger.requeue(lease.claim, 0, retry=False, logs=lease.log_line(why))

    def _requeue_unrecorded(self) -> None:
        with self._lock:
            waiting = list(self._unrecorded.items())
        for owner, lease in waiting:
            try:
                self._requeue(lease, "Redis was unavailable at its end; queued again")
            except Unavailable:
                return  # the next beat tries again
            with self._lock:
                del self._unrecorded[owner]

    def _run(self) -> None:
        while not self._stopped.wait(min(_BEAT_S, self._lease_s / 3)):
            self._show_life()
            for lease in self._held_leases():
                self._beat(lease)
                self._show_life()  # a renewal may wait until Redis's time-out; that is no hang
            self._requeue_unrecorded()

    def _show_life(self) -> None:
        # A C thread, which needs no interpreter lock. After `silence_s` without a new call
        # it writes all stacks and ends the process with status 1.
        faulthandler.dump_traceback_later(self._silence_s, exit=True)
        if self._alive_file:
            self._alive_file.touch()

    def _beat(self, lease: HeldLease) -> None:
        now = time.monotonic()
        if now - lease.since > self._max_run_s:
            log.error(
                "prediction_hangs",
                "a prediction hangs; the process queues its other predictions again and ends",
                **lease.claim.prediction.log_fields,
                seconds=now - lease.since,
            )
            self.requeue_all(but=lease)
            self._on_hang()
        if lease.lost or now - lease.renewed_at < min(_RENEW_S, self._lease_s / 3):
            return
        try:
            self._ledger.renew(lease.claim, self._lease_s)
            lease.renewed_at = now
        except LeaseLost:
            lease.lost = True
        except Unavailable as error:
            log.warning(
                "lease_not_renewed",
                "a lease was not renewed; a beat tries again",
                prediction=lease.claim.prediction.id,
                error=error,
            )

    def _held_leases(self) -> list[HeldLease]:
        with self._lock:
            return list(self._leases.values())
