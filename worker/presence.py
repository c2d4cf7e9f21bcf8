"""Shows that this worker is present, and has the predictions of dead workers queued again."""

import threading
from collections.abc import Callable

from sluice import logs
from sluice.errors import Unavailable
from sluice.ledger.presence import Presence

log = logs.get(__name__)

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
                log.warning("worker_gone", "a worker is gone", worker=worker)
            if seen.ended:
                log.warning(
                    "leases_ended", "the leases of gone workers have ended", leases=seen.ended
                )
                self._sweep()
        except Unavailable as error:
            log.debug("presence_unknown", "Redis does not tell which workers live", error=error)
        except Exception:
            log.exception("presence_failed", "unexpected error in the look at the workers")

    def _tell(self, refusal: str) -> None:
        self._refusal = refusal
        if refusal:
            log.warning(
                "presence_refused",
                "Redis does not tell which workers live, and leases of dead ones must lapse",
                error=refusal,
            )

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            self.look()
