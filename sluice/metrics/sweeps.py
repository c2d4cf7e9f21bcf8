"""The metrics of sweeps, which workers and keepers expose."""

import time

from sluice.metrics.recorder import Recorder

RESULTS = ("done", "unavailable", "failed")


class SweepMetrics:
    """Counts the rounds of a keeper, and what they put right."""

    def __init__(self, recorder: Recorder | None = None) -> None:
        recorder = recorder or Recorder()
        self._rounds = recorder.counter(
            "sluice_sweeps_total",
            "Rounds of the keeper: `done`, `unavailable` or `failed`.",
            "result",
        )
        self._last = recorder.gauge(
            "sluice_sweep_last_success_timestamp_seconds",
            "End of the last round that was done, since the epoch.",
        )
        self._lapsed = recorder.counter(
            "sluice_leases_lapsed_total", "Leases that lapsed, so that predictions wait again."
        )
        self._dead = recorder.counter(
            "sluice_dead_letters_total", "Predictions that became dead letters."
        )
        self._aborted = recorder.counter(
            "sluice_predictions_aborted_total", "Predictions that missed their deadline."
        )
        for result in RESULTS:
            self._rounds.labels(result)

    def round_ended(self, result: str) -> None:
        """`result`: one of `RESULTS`."""
        self._rounds.labels(result).inc()
        if result == "done":
            self._last.set(time.time())

    def swept(self, *, lapsed: int, aborted: int) -> None:
        self._lapsed.inc(lapsed)
        self._aborted.inc(aborted)

    def dead_letter(self) -> None:
        """A dead letter was noticed, and its image is kept."""
        self._lapsed.inc()
        self._dead.inc()
