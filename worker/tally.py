"""The tally: what this process ended since the keeper's last round, for the timeline."""

import threading

from sluice.errors import Unavailable
from sluice.ledger.timeline import Ends, Timeline


class Tally:
    """Counts ends of predictions. Thread-safe."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._ends = Ends()
        self._lock = threading.Lock()

    def count(self, latency_s: float | None) -> None:
        """Count a success, `latency_s` seconds after its submission; None counts a failure."""
        with self._lock:
            if latency_s is None:
                self._ends.failed += 1
            else:
                self._ends.add_success(latency_s)

    def record(self) -> None:
        """Add the counts to the timeline. Raises Unavailable; then they are kept."""
        with self._lock:
            ends, self._ends = self._ends, Ends()
        try:
            self._timeline.record(ends)
        except Unavailable:
            with self._lock:
                self._ends = ends.plus(self._ends)
            raise
