"""What beats in a worker process: renews leases, shows that the process is alive, and ends it when it hangs."""

import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sluice.errors import LeaseLost, Unavailable
from sluice.ledger.predictions import Ledger
from sluice.prediction import Claim

log = logging.getLogger(__name__)

EXIT_HUNG = 70  # the exit status, EX_SOFTWARE of sysexits.h; a supervisor starts the process anew
_BEAT_S = 0.5
_RENEW_S = 1.0  # more often than a lease needs: it is also how a cancellation is noticed
_SILENCE_S = 30.0  # when not even this thread gets to run: C code keeps the interpreter's lock


@dataclass
class HeldLease:
    """A claim that runs in this process."""

    claim: Claim
    since: float
    renewed_at: float
    lost: bool = False

    def line(self, text: str) -> str:
        """What this attempt adds to the prediction's logs."""
        return f"attempt {self.claim.prediction.attempts}: {text}"

    def check(self) -> None:
        """Raises LeaseLost once the claim is known to be gone: canceled, or another's."""
        if self.lost:
            raise LeaseLost(
                f"prediction {self.claim.prediction.id!r} was canceled, or its lease lapsed"
            )


def replace_process() -> None:
    """End this process now, hung threads and all; whoever supervises it starts another."""
    logging.shutdown()
    os._exit(EXIT_HUNG)


class LeaseWatchdog:
    """`alive_file` is touched at each beat. `on_hang` is called when a prediction has run for longer than `max_run_s`, once all
    others have been given back: a thread that hangs can't be ended, so its process must be.
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
        self._holds: dict[str, HeldLease] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    @property
    def busy(self) -> bool:
        """Whether anything runs here."""
        return bool(self._holds)

    def hold(self, claim: Claim) -> HeldLease:
        now = time.monotonic()
        hold = HeldLease(claim, now, now)
        with self._lock:
            self._holds[claim.owner] = hold
        return hold

    def release(self, hold: HeldLease) -> None:
        with self._lock:
            self._holds.pop(hold.claim.owner, None)

    def requeue_all(self, *, but: HeldLease | None = None) -> None:
        """Queue again, at once and with no retry counted, what runs here."""
        for hold in self._held():
            if hold is but:
                continue
            try:
                self._ledger.requeue(
                    hold.claim, 0, retry=False, logs=hold.line("its worker stopped; queued again")
                )
            except LeaseLost:
                pass  # it has ended, or is another's already
            except Unavailable as error:
                log.warning(
                    "prediction %s waits for its lease to lapse: %s",
                    hold.claim.prediction.id,
                    error,
                )
            hold.lost = True

    def _run(self) -> None:
        while not self._stopped.wait(min(_BEAT_S, self._lease_s / 3)):
            self._show_life()
            for hold in self._held():
                self._beat(hold)
                self._show_life()  # each may wait for Redis until its time-out, which is no hang of this process

    def _show_life(self) -> None:
        # A thread of C, which needs no lock of the interpreter: it writes all stacks and ends the process with status 1.
        faulthandler.dump_traceback_later(self._silence_s, exit=True)
        if self._alive_file:
            self._alive_file.touch()

    def _beat(self, hold: HeldLease) -> None:
        now = time.monotonic()
        if now - hold.since > self._max_run_s:
            log.error(
                "prediction %s hangs; this process gives the others back and ends",
                hold.claim.prediction.id,
            )
            self.requeue_all(but=hold)
            self._on_hang()
        if hold.lost or now - hold.renewed_at < min(_RENEW_S, self._lease_s / 3):
            return
        try:
            self._ledger.renew(hold.claim, self._lease_s)
            hold.renewed_at = now
        except LeaseLost:
            hold.lost = True
        except Unavailable as error:
            log.warning("a lease was not renewed: %s", error)  # the next beat tries again

    def _held(self) -> list[HeldLease]:
        with self._lock:
            return list(self._holds.values())
