"""One round of a keeper: a sweep, and the rings and images that follow from it.

Worker processes and the keeper's own process run rounds. The latter needs no pixels and no Triton,
so that this module imports neither.
"""

import random
import time
from collections.abc import Callable

from sluice import logs
from sluice.blobs.store import Blobs, input_key
from sluice.errors import SluiceError, Unavailable
from sluice.intake.doorbell import MAX_WAITING_RINGS, Doorbell
from sluice.ledger.answers import Swept
from sluice.ledger.predictions import Ledger
from sluice.metrics.sweeps import SweepMetrics

log = logs.get(__name__)

#: The pause after a round that found a store unavailable: what waits is rung for soon afterwards.
_AFTER_OUTAGE_S = 1.0

_SWEEPING_S = 2.0  # of one round, so that the process can show that it is alive


def sweep_round(
    ledger: Ledger,
    blobs: Blobs,
    doorbell: Doorbell,
    dead_retention_s: int,
    metrics: SweepMetrics | None = None,
) -> Swept:
    """Sweep once, ring for what is due, and keep or delete the images of what has ended.

    Raises Unavailable. Then the next round names again the dead letters whose images were not kept.
    The image of an aborted prediction expires by itself.
    """
    metrics = metrics or SweepMetrics()
    swept = _sweep_all(ledger)
    metrics.swept(lapsed=len(swept.requeued), aborted=len(swept.aborted))
    for prediction_id in swept.requeued:
        log.warning(
            "lease_lapsed",
            "a prediction is queued again, since its lease lapsed",
            prediction=prediction_id,
        )
    if swept.due:  # before the calls to the blob store, which may be unavailable
        for _ in range(min(MAX_WAITING_RINGS, swept.due) - doorbell.waiting()):
            doorbell.ring()
    for prediction_id in swept.dead:
        log.error(
            "prediction_dead",
            "a prediction is a dead letter, since each attempt ended its worker",
            prediction=prediction_id,
        )
        blobs.keep(input_key(prediction_id, ledger.get(prediction_id).digest), dead_retention_s)
        ledger.mark_image_kept(prediction_id)
        metrics.dead_letter()
    for prediction_id in swept.aborted:
        log.warning(
            "prediction_aborted",
            "a prediction is aborted, since it did not start in time",
            prediction=prediction_id,
        )
    blobs.delete(*map(input_key, swept.aborted, swept.digests))
    return swept


def _sweep_all(ledger: Ledger) -> Swept:
    """Sweep until nothing remains. Each sweep is short, and Redis serves others in between."""
    until = time.monotonic() + _SWEEPING_S
    swept = ledger.sweep()
    while swept.remaining and time.monotonic() < until:
        before, swept = swept, ledger.sweep()
        swept = swept._replace(
            requeued=before.requeued + swept.requeued,
            aborted=before.aborted + swept.aborted,
            digests=before.digests + swept.digests,
        )
    return swept


def spread(pause_s: float) -> float:
    """Return a little less, at random, so that keepers started together spread their rounds."""
    return pause_s * random.uniform(0.8, 1.0)


def attempt_round(
    round_: Callable[[], object],
    interval_s: float,
    on_outage: Callable[[], None] = lambda: None,
    metrics: SweepMetrics | None = None,
) -> float:
    """Run a round, log its failure, and return the pause until the next one."""
    metrics = metrics or SweepMetrics()
    try:
        round_()
        metrics.round_ended("done")
        return spread(interval_s)
    except Unavailable as error:
        on_outage()
        metrics.round_ended("unavailable")
        log.warning("sweep_skipped", "the keeper skips a round", error=error)
        return spread(min(_AFTER_OUTAGE_S, interval_s))
    except SluiceError as error:
        log.warning("sweep_cut_short", "the keeper's round ended early", error=error)
    except Exception:
        log.exception("sweep_failed", "unexpected error in the keeper's round")
    metrics.round_ended("failed")
    return spread(interval_s)
