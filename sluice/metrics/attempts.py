"""The metrics of attempts, which workers expose."""

from collections.abc import Callable, Mapping

from sluice.counts import EventCounts
from sluice.metrics.exemplars import Exemplars
from sluice.metrics.http import error_codes
from sluice.metrics.recorder import OTHER, BoundedNames, Recorder

_STAGE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
_TOTAL_S = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
STAGES = frozenset(
    ("annotate", "decode", "fetch", "inference", "letterbox", "merge", "postprocess", "predict")
) | {"queue", "triton"}
"""The stages that have series of their own; see `worker/stages.py`."""
OUTCOMES = ("succeeded", "failed", "retried", "lost", "unrecorded")


class AttemptMetrics:
    """Counts what became of each attempt of this process."""

    def __init__(
        self, recorder: Recorder | None = None, exemplars: Exemplars | None = None
    ) -> None:
        recorder = recorder or Recorder()
        self._exemplars = exemplars or Exemplars()
        self._model = BoundedNames()
        self._attempts = recorder.counter(
            "sluice_attempts_total",
            "Attempts that ended. `lost`: the lease lapsed, or the prediction was canceled."
            " `unrecorded`: Redis was unavailable at the end.",
            "outcome",
        )
        self._ended = recorder.counter(
            "sluice_predictions_ended_total",
            "Predictions that a worker ended.",
            "model",
            "status",
        )
        self._failed = recorder.counter(
            "sluice_predictions_failed_total", "Predictions that failed, by the code.", "code"
        )
        self._retries = recorder.counter(
            "sluice_retries_total", "Attempts that are made again, by the code.", "code"
        )
        self._seconds = recorder.histogram(
            "sluice_prediction_seconds",
            "Seconds from the submission to the result.",
            "model",
            buckets=_TOTAL_S,
        )
        self._stages = recorder.histogram(
            "sluice_stage_seconds",
            "Seconds of each stage of a prediction that succeeded. `queue`: the wait before."
            " `predict`: all but the wait.",
            "model",
            "stage",
            buckets=_STAGE_S,
        )
        for outcome in OUTCOMES:
            self._attempts.labels(outcome)
        for code in sorted(error_codes()):
            self._failed.labels(code)

    def succeeded(self, model: str, stages: Mapping[str, float]) -> None:
        """`stages`: seconds by the stage's name and `_time`, as a prediction's `metrics`."""
        label, exemplar = self._model(model), self._exemplars()
        self._attempts.labels("succeeded").inc()
        self._ended.labels(label, "succeeded").inc()
        total_s = stages.get("queue_time", 0.0) + stages.get("predict_time", 0.0)
        self._seconds.labels(label).observe(total_s, exemplar)
        for name, seconds in stages.items():
            stage = name.removesuffix("_time")
            known = stage if stage in STAGES else OTHER
            self._stages.labels(label, known).observe(seconds, exemplar)

    def failed(self, model: str, code: str) -> None:
        """`model` may be a client's word that no Triton knows."""
        self._attempts.labels("failed").inc()
        label = OTHER if code == "unknown_model" else self._model(model)
        self._ended.labels(label, "failed").inc()
        self._failed.labels(code).inc()

    def retried(self, code: str) -> None:
        self._attempts.labels("retried").inc()
        self._retries.labels(code).inc()

    def lost(self) -> None:
        """The attempt owned its prediction no more."""
        self._attempts.labels("lost").inc()

    def unrecorded(self) -> None:
        """Redis did not take the end of the attempt."""
        self._attempts.labels("unrecorded").inc()


def add_worker(
    recorder: Recorder,
    *,
    slots: int,
    running: Callable[[], float],
    breaker_is_open: Callable[[], bool],
    triton_errors: EventCounts,
) -> None:
    """Add what a worker process is: its slots, its breaker, and its calls to Triton."""
    recorder.gauge("sluice_worker_slots", "Predictions that the process runs at a time.").set(slots)
    recorder.gauge("sluice_worker_running", "Predictions that the process runs.").set_function(
        running
    )
    recorder.gauge(
        "sluice_breaker_open",
        "1 while the process claims nothing, since Triton or the images' store failed.",
    ).set_function(breaker_is_open)
    recorder.read(
        "counter",
        "sluice_triton_errors_total",
        "Calls to Triton that failed. Some are repeated at once, and no attempt fails.",
        "reason",
        values=lambda: [((reason,), count) for reason, (count, _) in triton_errors.read().items()],
    )
