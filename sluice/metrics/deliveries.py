"""The metrics of deliveries, which senders expose."""

from collections.abc import Callable

from sluice.delivery import AttemptOutcome, AttemptResult
from sluice.metrics.recorder import Recorder

_ATTEMPT_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)
_AGE_S = (0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 36000.0, 86400.0)
_ERRORS = (
    "address_not_allowed",
    "connect_failed",
    "connection_broken",
    "http_3xx",
    "http_4xx",
    "http_5xx",
    "internal",
    "invalid_input",
    "timeout",
)
_OTHER = "other"


class DeliveryMetrics:
    """Counts what became of each attempt at a delivery. No label names a receiver."""

    def __init__(self, recorder: Recorder | None = None) -> None:
        recorder = recorder or Recorder()
        self._recorder = recorder
        self._attempts = recorder.counter(
            "sluice_delivery_attempts_total", "Attempts at deliveries that ended.", "outcome"
        )
        self._failures = recorder.counter(
            "sluice_delivery_failures_total", "Attempts that failed, by the reason.", "reason"
        )
        self._dead = recorder.counter(
            "sluice_deliveries_dead_total", "Deliveries that were given up."
        )
        self._lapsed = recorder.counter(
            "sluice_delivery_leases_lapsed_total", "Deliveries whose sender was lost."
        )
        self._seconds = recorder.histogram(
            "sluice_delivery_attempt_seconds", "Seconds of an attempt.", buckets=_ATTEMPT_S
        )
        self._age = recorder.histogram(
            "sluice_delivery_age_seconds",
            "Seconds from the event to the attempt that delivered it.",
            buckets=_AGE_S,
        )
        for result in AttemptResult:
            self._attempts.labels(result.value)
        for reason in (*_ERRORS, _OTHER):
            self._failures.labels(reason)

    def add_slots(self, slots: int, running: Callable[[], float]) -> None:
        """Add how many attempts the process makes at a time."""
        self._recorder.gauge(
            "sluice_sender_slots", "Attempts that the process makes at a time."
        ).set(slots)
        self._recorder.gauge(
            "sluice_sender_running", "Attempts that the process is making."
        ).set_function(running)

    def ended(self, outcome: AttemptOutcome) -> None:
        """Count an attempt that was made, or given back."""
        self._attempts.labels(outcome.result.value).inc()
        attempt = outcome.attempt
        if attempt is None:
            return
        self._seconds.observe(attempt.duration_s)
        if outcome.result is AttemptResult.DELIVERED:
            self._age.observe(max(0.0, attempt.at - outcome.outgoing.delivery.created_at))
            return
        reason = attempt.error or f"http_{(attempt.status or 0) // 100}xx"
        self._failures.labels(reason if reason in _ERRORS else _OTHER).inc()
        if outcome.result is AttemptResult.FAILED and outcome.delay_s is None:
            self._dead.inc()

    def swept(self, *, lost: int, given_up: int) -> None:
        self._lapsed.inc(lost)
        self._dead.inc(given_up)
