"""Counts of this process's calls to Redis, which metrics read.

Celery's own calls are not counted: its connection waits for messages most of the time.
"""

from sluice.counts import EventCounts

ROUND_TRIPS = EventCounts("")
"""Round trips and their seconds, under the empty key."""

ERRORS = EventCounts("full", "not_replicated", "timeout", "unavailable")
"""Failed calls by the reason."""
