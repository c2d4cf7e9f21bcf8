"""The ledger's answers: what its methods return, and the errors that it writes into records."""

from typing import NamedTuple

from sluice.prediction import Prediction, Problem

WORKER_LOST = Problem(
    code="worker_lost", message="The worker died or hung each time it ran this prediction."
)
TOO_LATE = Problem(
    code="too_late",
    message="The prediction did not start in time; the service was too busy, or was stopped.",
)


class Created(NamedTuple):
    """The answer to `Ledger.create`."""

    prediction: Prediction
    """The record."""

    made: bool
    """True where this call put the prediction on record; False where it was there."""

    waiting: int
    """How many predictions are queued now, this one included; 0 where `made` is False."""


class Swept(NamedTuple):
    """The answer to `Ledger.sweep`."""

    requeued: tuple[str, ...]
    """Ids whose leases lapsed, and which are queued again."""

    dead: tuple[str, ...]
    """Ids of dead letters whose images do not live as long as their records yet."""

    aborted: tuple[str, ...]
    """Ids that missed their deadline."""

    due: int
    """How many predictions may be claimed now."""

    due_alone: int
    """How many predictions may be claimed now to run alone."""

    remaining: int = 0
    """How many lapses and deadlines are left for the next sweep."""

    digests: tuple[str, ...] = ()
    """The digests of the aborted predictions, in the same order."""


class QueueLoad(NamedTuple):
    """How busy the queue is."""

    live: int
    """How many predictions are queued or running."""

    running: int
    """How many predictions are running."""

    workers: int
    """How many worker processes are alive."""

    oldest_s: float
    """How long ago the oldest live prediction was submitted."""

    drain_rate_per_s: float
    """How many predictions ended a second, in the best ten seconds of the last minute.

    Only ends while others waited count; 0 where there were none.
    """

    fill_ratio: float
    """How much of the nearest bound is in use, 0 to 1."""

    troubled: int
    """How many of the workers lack Triton or the blob store."""

    def wait_s(self, ahead: int) -> float | None:
        """How long until a prediction with `ahead` others before it ends; None where unknown."""
        return (ahead + 1) / self.drain_rate_per_s if self.drain_rate_per_s else None
