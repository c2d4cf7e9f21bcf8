"""Shows that this worker is present, and has the predictions of dead workers queued again."""

import logging
import threading
from collections.abc import Callable

from sluice.errors import Unavailable
from sluice.ledger.presence import Presence

log = logging.getLogger(__name__)

LOOK_S = 1.0


class PresenceWatch:
    """Looks once a second. `sweep` queues the predictions of ended leases again."""

    def __init__(
        self, presence: Presence, sweep: Callable[[], object], *, interval_s: float = LOOK_S
    ) -> None:
        self._interval_s = interval_s
        self._presence = presence
        self._sweep = sweep
        self._refusal = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        """Look on a thread of its own, until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(timeout=1)

    def look(self) -> None:
        """Look once. Raises nothing: the next look follows soon."""
        try:
            seen = self._presence.look()
            if seen.refusal != self._refusal:
                self._tell(seen.refusal)
            for worker in seen.gone:
                log.warning("worker %s is gone", worker)
            if seen.ended:
                log.warning("%d leases of workers that are gone have ended", seen.ended)
                self._sweep()
        except Unavailable as error:
            log.debug("no look at the workers: %s", error)
        except Exception:
            log.exception("unexpected error in the look at the workers; the next one follows")

    def _tell(self, refusal: str) -> None:
        self._refusal = refusal
        if refusal:
            log.warning(
                "a dead worker's predictions wait until their leases lapse; Redis says: %s", refusal
            )

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            self.look()
