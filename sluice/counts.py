"""Counts of events and of their seconds, for adapters that know no metrics library.

The command line uses the adapters too, and runs without the library. A process that exposes metrics
reads the tallies at each scrape.
"""

import threading


class EventCounts:
    """Counts events by a key, and sums their seconds. Thread-safe. The given keys start at 0."""

    def __init__(self, *keys: str) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, tuple[int, float]] = dict.fromkeys(keys, (0, 0.0))

    def add(self, key: str = "", seconds: float = 0.0) -> None:
        """Count one event. The caller bounds the number of different keys."""
        with self._lock:
            count, total_s = self._entries.get(key, (0, 0.0))
            self._entries[key] = (count + 1, total_s + seconds)

    def read(self) -> dict[str, tuple[int, float]]:
        """Return the number of events and the sum of their seconds, by key."""
        with self._lock:
            return dict(self._entries)
