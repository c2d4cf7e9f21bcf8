"""One attempt: claim, run, record. Takes its collaborators, so that it runs without Celery."""

import logging
import random
import time
import uuid
from collections.abc import Callable

from sluice.blobs.store import Blobs, input_key
from sluice.errors import (
    ImageExpired,
    ImageUnreachable,
    InferenceFailed,
    InvalidInput,
    LeaseLost,
    RedisUnavailable,
    SluiceError,
    Unavailable,
    UnknownModel,
)
from sluice.ledger.predictions import Ledger
from sluice.prediction import Claim, Prediction, Problem
from sluice.settings import QueueSettings
from worker.breaker import Breaker
from worker.exclusive import ExclusiveLock
from worker.pipeline import Pipeline, Stages
from worker.watchdog import HeldLease, LeaseWatchdog

log = logging.getLogger(__name__)

_FIRST_DELAY_S, _LONGEST_DELAY_S = 1.0, 30.0


class Runner:
    """`worker` names this process. `jitter` gives a number from 0 to 1; it spreads the retries of what failed together."""

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
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._pipeline = pipeline
        self._watchdog = watchdog
        self._settings = settings
        self.worker = worker
        self._breaker = breaker or Breaker()
        self._jitter = jitter
        self._lock = ExclusiveLock()
        self._stopping = False
        self.last_called_at = time.monotonic()

    def stop(self) -> None:
        """Claim nothing more; what runs goes on."""
        self._stopping = True

    def run_one(self) -> bool:
        """Claim and run the prediction that waits longest; False when none is due, or while a part is known to be away.

        Raises RedisUnavailable.
        """
        self.last_called_at = time.monotonic()
        with self._lock.shared():
            return self._claim_and_run(alone=False)

    def run_one_alone(self) -> bool:
        """The same for one that may not have neighbours; waits until those that run here are done."""
        with self._lock.exclusive():
            return self._claim_and_run(alone=True)

    def _claim_and_run(self, *, alone: bool) -> bool:
        if self._stopping or not self._breaker.allows():
            return False
        claim = self._ledger.claim(
            f"{self.worker}/{uuid.uuid4().hex}", self._settings.lease_s, alone=alone
        )
        if claim is None:
            self._breaker.undecided()
            return False
        hold = self._watchdog.hold(claim)
        try:
            self._run(claim, hold)
        except LeaseLost as error:
            self._breaker.undecided()
            log.warning("%s; its result is dropped", error)
        finally:
            self._watchdog.release(hold)
            self.last_called_at = time.monotonic()
        return True

    def _run(self, claim: Claim, hold: HeldLease) -> None:
        prediction = claim.prediction
        stages = Stages(hold.check)
        waited_s = (prediction.started_at or prediction.created_at) - prediction.created_at
        stages.seconds["queue_time"] = round(waited_s, 6)
        try:
            output = self._pipeline.run(prediction, stages)
            hold.check()
            self._ledger.succeed(claim, output, stages.seconds, hold.line(stages.text()))
        except (LeaseLost, RedisUnavailable):
            raise  # whether an end is on record is not known after the second; the lease will tell
        except UnknownModel as error:
            # A Triton that has just started answers so until its models are loaded, and the api had seen this one. So the breaker,
            # where it is open, lets the next one wait.
            if waited_s < self._settings.model_grace_s:
                self._retry(hold, error)
                return
            self._fail(hold, error, stages)
        except Unavailable as error:
            if isinstance(
                error, ImageUnreachable
            ):  # that is no part of ours: it says nothing about other predictions
                self._breaker.undecided()
            else:
                self._breaker.failed()
            if (
                prediction.retries < self._settings.max_retries
                and waited_s < self._settings.retry_for_s
            ):
                self._retry(hold, error)
                return
            self._fail(hold, error, stages)
        except (InvalidInput, ImageExpired, InferenceFailed) as error:
            self._breaker.undecided()
            self._fail(hold, error, stages)
        except Exception:
            log.exception("prediction %s failed by a fault of ours", prediction.id)
            self._fail(hold, SluiceError("an internal error; the worker's log says more"), stages)
        else:
            self._breaker.succeeded()
            log.info(
                "prediction %s succeeded in %.3f s", prediction.id, stages.seconds["predict_time"]
            )
        self._forget_input(prediction)

    def _retry(self, hold: HeldLease, error: SluiceError) -> None:
        """Full jitter: anything up to a delay that doubles."""
        claim = hold.claim
        longest_s = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(30, claim.prediction.retries))
        delay_s = longest_s * self._jitter()
        self._ledger.requeue(
            claim,
            delay_s,
            logs=hold.line(f"{error.code}: {error.message}; again in {delay_s:.1f} s"),
        )
        log.warning(
            "prediction %s is tried again in %.1f s: %s", claim.prediction.id, delay_s, error
        )

    def _fail(self, hold: HeldLease, error: SluiceError, stages: Stages) -> None:
        claim = hold.claim
        logs = hold.line(f"{error.code}: {error.message}")
        self._ledger.fail(
            claim, Problem(code=error.code, message=error.message), stages.seconds, logs
        )
        log.info("prediction %s failed: %s: %s", claim.prediction.id, error.code, error.message)

    def _forget_input(self, prediction: Prediction) -> None:
        """After the end is on record, never before: an attempt that dies in between leaves a blob, and its time to live ends it."""
        try:
            self._blobs.delete(input_key(prediction.id, prediction.digest))
        except Unavailable as error:
            log.warning("the image of %s stays until it expires: %s", prediction.id, error)
