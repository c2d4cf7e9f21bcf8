"""Celery's consumer of messages, which comes back soon after an outage of Redis."""

from typing import Any

from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown

from sluice import logs

log = logs.get(__name__)

_RECONNECT_S = 0.5


class DoorbellConsumer(Consumer):  # type: ignore[misc]  # Celery has no types
    """Tries to connect twice a second. Celery's own one waits longer each time, up to 30 s."""

    def ensure_connected(self, conn: Any) -> Any:
        """Connect `conn`, and return it. Never gives up, until the process is told to stop."""
        self.first_connection_attempt = False
        told = False

        def tell(error: Exception, _interval_s: float) -> None:
            nonlocal told
            if not told:
                log.warning(
                    "queue_away", "no connection to the queue; a connection is tried", error=error
                )
            told = True

        return conn.ensure_connection(
            tell,
            interval_start=_RECONNECT_S,
            interval_step=0,
            interval_max=_RECONNECT_S,
            callback=maybe_shutdown,
        )
