"""Accept and cancel predictions.

The order of the steps is the promise: first the image is stored, then the prediction is on record,
then a worker is woken. Only then the client gets 202.
"""

from sluice import logs
from sluice.blobs.store import Blobs, input_key
from sluice.errors import Conflict, Gone, IdReused, NotFound, QueueFull, Unavailable
from sluice.ids import new_id
from sluice.intake.doorbell import MAX_WAITING_RINGS, Doorbell
from sluice.ledger.answers import Created
from sluice.ledger.predictions import Ledger
from sluice.prediction import Prediction, Submission, digest

log = logs.get(__name__)


class Intake:
    """Accepts and cancels predictions. Thread-safe; each call blocks for a few milliseconds."""

    def __init__(
        self,
        ledger: Ledger,
        blobs: Blobs,
        doorbell: Doorbell,
        *,
        blob_ttl_s: int,
        orphan_ttl_s: int,
        repeats_are_written: bool = False,
        id_prefix: str = "",
    ) -> None:
        """`repeats_are_written`: a repetition writes all again, and so waits for the replicas.

        New ids begin with `id_prefix`.
        """
        self._id_prefix = id_prefix
        self._repeats_are_written = repeats_are_written
        self._ledger = ledger
        self._blobs = blobs
        self._doorbell = doorbell
        self._blob_ttl_s = blob_ttl_s
        self._orphan_ttl_s = orphan_ttl_s

    def accept_new(
        self, image: bytes, submission: Submission, *, max_backlog: int | None = None
    ) -> Prediction:
        """Accept a submission under a new id.

        `image` is empty where the submission has an `image_url`. `max_backlog` bounds the live
        predictions of the submission's API key.

        Raises Conflict where the batch has ended, QueueFull, or another Unavailable. After another
        Unavailable the prediction may still be on record.
        """
        prediction_id = new_id(self._id_prefix)
        blob_key = input_key(prediction_id, "")
        self._store(blob_key, image)
        try:
            created = self._ledger.create(
                prediction_id, submission, "", len(image), max_backlog=max_backlog
            )
        except (Conflict, QueueFull):
            self._delete(blob_key)
            raise
        except Unavailable:
            self.expire_orphan(blob_key)
            raise
        self._ring_for(created)
        return created.prediction

    def accept_named(
        self,
        prediction_id: str,
        image: bytes,
        submission: Submission,
        *,
        max_backlog: int | None = None,
    ) -> Prediction:
        """Accept a submission under the caller's id, once.

        A repetition of the same submission changes nothing. The result is the prediction as it is.

        Raises IdReused, Gone, and the errors of `accept_new`.
        """
        submission_digest = digest(image, submission)
        blob_key = input_key(prediction_id, submission_digest)
        prediction = self._recorded(prediction_id, submission_digest)
        if prediction and not self._repeats_are_written:
            return self._repeat(prediction, blob_key)
        self._store(blob_key, image)
        # After an Unavailable other than QueueFull the image stays: a repetition may need it.
        try:
            created = self._ledger.create(
                prediction_id, submission, submission_digest, len(image), max_backlog=max_backlog
            )
        except (Conflict, Gone):
            self._delete(blob_key)
            raise
        except QueueFull:
            self._delete_unless_a_repetition_was_recorded(prediction_id, blob_key)
            raise
        if created.prediction.status.terminal:
            self._delete_image_stored_after_the_end(blob_key)
        elif image:
            self._restore_image_deleted_by_a_refused_repetition(prediction_id, blob_key, image)
        if created.made:
            self._ring_for(created)
        return created.prediction

    def cancel(self, prediction_id: str, key: str | None = None) -> Prediction:
        """Cancel a queued or running prediction, and delete its image.

        With `key`, the predictions of other API keys are unknown.
        Raises Conflict where the prediction has ended, NotFound, Gone or RedisUnavailable.
        """
        prediction = self._ledger.cancel(prediction_id, key)
        self._delete(input_key(prediction_id, prediction.digest))
        return prediction

    def expire_orphan(self, blob_key: str) -> None:
        """Let an image expire soon that may belong to no prediction."""
        try:
            self._blobs.keep(blob_key, self._orphan_ttl_s)
        except Unavailable as error:
            log.warning(
                "orphan_not_expired",
                "an image that may belong to no prediction keeps its full time",
                error=error,
            )

    def ring(self, prediction_id: str) -> None:
        """Wake a worker, if the broker can be reached."""
        try:
            self._doorbell.ring()
        except Unavailable as error:
            no_worker_woken(prediction_id, error)

    def _ring_for(self, created: Created) -> None:
        if needs_ring(created):
            self.ring(created.prediction.id)

    def _store(self, blob_key: str, image: bytes) -> None:
        if image:
            self._blobs.put(blob_key, image, self._blob_ttl_s)

    def _delete(self, blob_key: str) -> None:
        try:
            self._blobs.delete(blob_key)
        except Unavailable as error:
            log.warning("image_not_deleted", "an image stays until it expires", error=error)

    def _recorded(self, prediction_id: str, submission_digest: str) -> Prediction | None:
        """Return the prediction that has this id already. Raises IdReused, Gone."""
        try:
            prediction = self._ledger.get(prediction_id)
        except NotFound:
            return None
        if prediction.digest != submission_digest:
            raise IdReused(
                f"the id {prediction_id!r} belongs to another submission; choose a new one"
            )
        return prediction

    def _repeat(self, prediction: Prediction, blob_key: str) -> Prediction:
        """Finish the first call, which may have died before: renew the image's time to live."""
        if not prediction.status.terminal:
            self._blobs.keep(blob_key, self._blob_ttl_s)
        return prediction

    def _delete_unless_a_repetition_was_recorded(self, prediction_id: str, blob_key: str) -> None:
        """Handle a race: another call with the same submission came just before the queue was full.

        Both calls share the image.
        """
        try:
            self._ledger.get(prediction_id)
        except (NotFound, Gone):
            self._delete(blob_key)

    def _delete_image_stored_after_the_end(self, blob_key: str) -> None:
        """Handle a race: since `_recorded`, the same submission was recorded and has ended.

        The image was deleted at that end, and stored again by this call.
        """
        self._delete(blob_key)

    def _restore_image_deleted_by_a_refused_repetition(
        self, prediction_id: str, blob_key: str, image: bytes
    ) -> None:
        """Handle a race: a refused call with the same submission deletes the image they share.

        A worker that has ended the prediction deletes the image too. Then it is not restored.
        """
        if self._blobs.keep(blob_key, self._blob_ttl_s):
            return
        self._blobs.put(blob_key, image, self._blob_ttl_s)
        if self._ledger.get(prediction_id).status.terminal:
            self._delete(blob_key)


def no_worker_woken(prediction_id: str, error: Unavailable) -> None:
    """Log a ring that failed. The prediction is on record, and therefore accepted."""
    log.warning(
        "no_worker_woken",
        "a prediction is queued, and no worker was woken; the keeper will ring",
        prediction=prediction_id,
        error=error,
    )


def needs_ring(created: Created) -> bool:
    """Return whether to wake a worker. Woken workers run predictions until none is due."""
    return created.waiting <= MAX_WAITING_RINGS
