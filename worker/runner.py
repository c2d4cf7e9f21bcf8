"""One attempt: claim, run, record. Takes its collaborators, so that it runs without Celery."""

import logging
import random
import threading
import uuid
from collections.abc import Callable

from sluice.blobs import Blobs, input_key
from sluice.errors import ImageExpired, InferenceFailed, InvalidInput, LeaseLost, SluiceError, Unavailable
from sluice.ledger import Ledger
from sluice.prediction import Claim, Problem
from worker.pipeline import Pipeline, Stages

log = logging.getLogger(__name__)

_FIRST_DELAY_S, _LONGEST_DELAY_S = 1.0, 30.0


class Heart:
    """Renews the leases of the claims that this process holds, from one thread. A lease that is lost is let go."""

    def __init__(self, ledger: Ledger, lease_s: float) -> None:
        self._ledger = ledger
        self._lease_s = lease_s
        self._claims: dict[str, Claim] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heart", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def hold(self, claim: Claim) -> None:
        with self._lock:
            self._claims[claim.owner] = claim

    def release(self, claim: Claim) -> None:
        with self._lock:
            self._claims.pop(claim.owner, None)

    def _beat(self) -> None:
        while not self._stopped.wait(self._lease_s / 3):
            with self._lock:
                claims = list(self._claims.values())
            for claim in claims:
                try:
                    self._ledger.renew(claim, self._lease_s)
                except LeaseLost:
                    self.release(claim)
                except Unavailable as error:
                    log.warning("a lease was not renewed: %s", error)  # there are two more beats before it lapses


class Runner:
    """`jitter` gives a number from 0 to 1; it spreads the retries of what failed together."""

    def __init__(
        self,
        ledger: Ledger,
        blobs: Blobs,
        pipeline: Pipeline,
        heart: Heart,
        *,
        worker: str,
        lease_s: float,
        retry_for_s: float,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._pipeline = pipeline
        self._heart = heart
        self._worker = worker
        self._lease_s = lease_s
        self._retry_for_s = retry_for_s
        self._jitter = jitter

    def run_one(self) -> bool:
        """Claim and run the prediction that waits longest; False when none is due. Raises RedisUnavailable."""
        claim = self._ledger.claim(f"{self._worker}/{uuid.uuid4().hex}", self._lease_s)
        if claim is None:
            return False
        self._heart.hold(claim)
        try:
            self._run(claim)
        except LeaseLost as error:
            log.warning("%s; its result is dropped", error)
        finally:
            self._heart.release(claim)
        return True

    def _run(self, claim: Claim) -> None:
        prediction = claim.prediction
        stages = Stages()
        waited_s = (prediction.started_at or prediction.created_at) - prediction.created_at
        stages.seconds["queue_time"] = round(waited_s, 6)
        try:
            output = self._pipeline.run(prediction, stages)
        except Unavailable as error:
            if waited_s < self._retry_for_s:
                delay_s = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** (prediction.attempts - 1)) * (0.5 + self._jitter() / 2)
                log.warning("prediction %s is tried again in %.1f s: %s", prediction.id, delay_s, error)
                self._ledger.requeue(claim, delay_s)
                return
            self._fail(claim, error, stages)
        except (InvalidInput, ImageExpired, InferenceFailed) as error:
            self._fail(claim, error, stages)
        except Exception:
            log.exception("prediction %s failed by a fault of ours", prediction.id)
            self._fail(claim, SluiceError("an internal error; the worker's log says more"), stages)
        else:
            self._ledger.succeed(claim, output, stages.seconds)
            log.info("prediction %s succeeded in %.3f s", prediction.id, stages.seconds["predict_time"])
        self._forget_input(prediction.id)

    def _fail(self, claim: Claim, error: SluiceError, stages: Stages) -> None:
        self._ledger.fail(claim, Problem(code=error.code, message=error.message), stages.seconds)
        log.info("prediction %s failed: %s: %s", claim.prediction.id, error.code, error.message)

    def _forget_input(self, prediction_id: str) -> None:
        """After the end is on record, never before: an attempt that dies in between leaves a blob, and its time to live ends it."""
        try:
            self._blobs.delete(input_key(prediction_id))
        except Unavailable as error:
            log.warning("the image of %s stays until it expires: %s", prediction_id, error)
