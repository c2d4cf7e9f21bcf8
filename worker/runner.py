"""One attempt: claim a prediction, run it, record the result. Needs no Celery."""

import random
import time
import uuid
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from sluice import logs
from sluice.blobs.store import Blobs, input_key
from sluice.errors import (
    ImageExpired,
    ImageUnreachable,
    InferenceFailed,
    InvalidInput,
    LeaseLost,
    RedisUnavailable,
    ReplicasMissing,
    SluiceError,
    Unavailable,
    UnknownModel,
)
from sluice.ledger.predictions import Ledger
from sluice.metrics.attempts import AttemptMetrics
from sluice.prediction import Claim, Prediction, Problem
from sluice.settings import QueueSettings
from sluice.tracing import Tracer, now_ns
from worker import attempt_trace
from worker.attempt_trace import AttemptTrace
from worker.breaker import Breaker
from worker.exclusive import ExclusiveLock
from worker.pipeline import Pipeline
from worker.stages import Stages
from worker.watchdog import HeldLease, LeaseWatchdog

log = logs.get(__name__)

_FIRST_DELAY_S, _LONGEST_DELAY_S = 1.0, 30.0


class _Action(Enum):
    PROPAGATE = auto()
    """Record nothing: whether this attempt still owns the prediction is for the lease to tell."""
    RETRY = auto()
    """Queue the prediction again."""
    FAIL = auto()
    """Record the error as the prediction's result."""


class _Verdict(NamedTuple):
    """How an attempt that raised an error ends."""

    action: _Action
    error: SluiceError
    """The error that the client may read."""
    inform: Callable[[Breaker], None]
    """Tells the breaker what the error says about Triton and the blob store."""


def _classify(error: Exception, prediction: Prediction, settings: QueueSettings) -> _Verdict:
    waited_s = _waited_s(prediction)
    match error:
        case LeaseLost() | RedisUnavailable():
            # Without Redis's answer, a result may be on record or not. The watchdog finds out.
            return _Verdict(_Action.PROPAGATE, error, _inform_nothing)
        case UnknownModel():
            # The api has seen the model, and a Triton that has just started is still loading it.
            # The breaker stays as it is: where it is open, the next probe waits its turn.
            loading = waited_s < settings.model_grace_s
            return _Verdict(_Action.RETRY if loading else _Action.FAIL, error, _inform_nothing)
        case SluiceError(retryable=True):
            again = prediction.retries < settings.max_retries and waited_s < settings.retry_for_s
            # A client's server that does not answer says nothing about other predictions.
            theirs = isinstance(error, ImageUnreachable)
            inform = Breaker.undecided if theirs else Breaker.failed
            return _Verdict(_Action.RETRY if again else _Action.FAIL, error, inform)
        case InvalidInput() | ImageExpired() | InferenceFailed():
            return _Verdict(_Action.FAIL, error, Breaker.undecided)
        case _:
            hidden = SluiceError("internal error; the worker's log has the details")
            return _Verdict(_Action.FAIL, hidden, _inform_nothing)


def _inform_nothing(_: Breaker) -> None:
    pass


def _waited_s(prediction: Prediction) -> float:
    """Return the seconds from the submission to this attempt's start."""
    return (prediction.started_at or prediction.created_at) - prediction.created_at


class Runner:
    """Claims predictions and runs them, each on the thread of its caller.

    `worker` names this process. `jitter` returns a number from 0 to 1, which spreads the
    retries of predictions that failed together. `on_end` is told of each recorded end: the seconds
    from the submission to a success, or None for a failure.
    """

    def __init__(
        self,
        ledger: Ledger,
        blobs: Blobs,
        pipeline: Pipeline,
        watchdog: LeaseWatchdog,
        settings: QueueSettings,
        *,
        worker: str,
        breaker: Breaker | None = None,
        tracer: Tracer | None = None,
        jitter: Callable[[], float] = random.random,
        on_end: Callable[[float | None], None] = lambda _: None,
        metrics: AttemptMetrics | None = None,
    ) -> None:
        self._on_end = on_end
        self._ledger = ledger
        self._blobs = blobs
        self._pipeline = pipeline
        self._watchdog = watchdog
        self._settings = settings
        self.worker = worker
        self._breaker = breaker or Breaker()
        self._tracer = tracer
        self._jitter = jitter
        self._metrics = metrics or AttemptMetrics()
        self._lock = ExclusiveLock()
        self.stopping = False
        self.last_called_at = time.monotonic()

    def stop(self) -> None:
        """Claim no more predictions. Running predictions go on."""
        self.stopping = True

    def run_one(self) -> bool:
        """Claim the next prediction and run it.

        Returns False when none is due, or while the breaker is open. Raises RedisUnavailable.
        """
        self.last_called_at = time.monotonic()
        with self._lock.shared():
            return self._claim_and_run(alone=False)

    def run_one_alone(self) -> bool:
        """Run a prediction that must run alone, once the others in this process are done.

        Returns and raises the same as `run_one`.
        """
        with self._lock.exclusive():
            return self._claim_and_run(alone=True)

    def _claim_and_run(self, *, alone: bool) -> bool:
        if self.stopping or not self._breaker.allows():
            return False
        began_ns = now_ns() if self._tracer else 0
        claim = self._ledger.claim(
            f"{self.worker}/{uuid.uuid4().hex}", self._settings.lease_s, alone=alone
        )
        if claim is None:
            self._breaker.undecided()
            return False
        trace = attempt_trace.begin(self._tracer, claim, began_ns)
        with logs.about(**claim.prediction.log_fields):
            if trace is None:
                self._run_claimed(claim)
            else:
                with trace:
                    self._run_claimed(claim, trace)
        return True

    def _run_claimed(self, claim: Claim, trace: AttemptTrace | None = None) -> None:
        lease = self._watchdog.hold(claim)
        try:
            self._run(claim, lease, trace)
        except LeaseLost as error:
            self._breaker.undecided()
            self._metrics.lost()
            log.warning(
                "lease_lost", "an attempt lost its lease, and its result is dropped", error=error
            )
        except ReplicasMissing as error:
            # A failover may undo this end. Then the image is needed once more.
            self._breaker.undecided()
            log.warning(
                "replicas_missing", "the end is not on the replicas; the image stays", error=error
            )
        except RedisUnavailable:
            self._metrics.unrecorded()
            self._watchdog.give_back(lease)
            raise
        finally:
            self._watchdog.release(lease)
            self.last_called_at = time.monotonic()

    def _run(self, claim: Claim, lease: HeldLease, trace: AttemptTrace | None) -> None:
        prediction = claim.prediction
        stages = Stages(lease.check, lambda: self._watchdog.confirm(lease), trace)
        stages.seconds["queue_time"] = round(_waited_s(prediction), 6)
        try:
            output = self._pipeline.run(prediction, stages)
            lease.check()
            with stages.span("finish"):
                self._ledger.succeed(claim, output, stages.metrics, lease.log_line(stages.text()))
        except Exception as error:
            verdict = _classify(error, prediction, self._settings)
            if trace:
                trace.error = verdict.error.code
            if verdict.action is _Action.PROPAGATE:
                raise
            if verdict.error is not error:
                log.exception("prediction_broke", "unexpected error while running a prediction")
            verdict.inform(self._breaker)
            if verdict.action is _Action.RETRY:
                with stages.span("finish"):
                    self._retry(lease, verdict.error)
                return
            with stages.span("finish"):
                self._fail(lease, verdict.error, stages)
        else:
            self._breaker.succeeded()
            self._metrics.succeeded(prediction.model, stages.seconds)
            predict_s = stages.seconds["predict_time"]
            self._on_end(stages.seconds["queue_time"] + predict_s)
            log.info("prediction_succeeded", "a prediction succeeded", seconds=predict_s)
        self._delete_input(prediction)

    def _retry(self, lease: HeldLease, error: SluiceError) -> None:
        """Queue again with full jitter: a random part of a delay that doubles each time."""
        claim = lease.claim
        longest_s = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(30, claim.prediction.retries))
        delay_s = longest_s * self._jitter()
        self._ledger.requeue(
            claim,
            delay_s,
            logs=lease.log_line(f"{error.code}: {error.message}; again in {delay_s:.1f} s"),
        )
        self._metrics.retried(error.code)
        log.warning(
            "prediction_retried",
            "a prediction is tried again",
            delay_s=delay_s,
            code=error.code,
            error=error,
        )

    def _fail(self, lease: HeldLease, error: SluiceError, stages: Stages) -> None:
        claim = lease.claim
        logs = lease.log_line(f"{error.code}: {error.message}")
        self._ledger.fail(
            claim, Problem(code=error.code, message=error.message), stages.metrics, logs
        )
        self._metrics.failed(claim.prediction.model, error.code)
        self._on_end(None)
        log.info("prediction_failed", "a prediction failed", code=error.code, error=error)

    def _delete_input(self, prediction: Prediction) -> None:
        """Delete the image once the result is on record, never before.

        An attempt that dies in between leaves the image to expire.
        """
        try:
            self._blobs.delete(input_key(prediction.id, prediction.digest))
        except Unavailable as error:
            log.warning("image_not_deleted", "an image stays until it expires", error=error)
