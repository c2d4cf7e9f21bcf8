"""Taking a prediction in, or back. The order is the promise: what was answered with 202 is stored and on record."""

import logging

from sluice.blobs.store import Blobs, input_key
from sluice.errors import Conflict, Gone, IdReused, NotFound, QueueFull, Unavailable
from sluice.ids import new_id
from sluice.intake.doorbell import MAX_WAITING_RINGS, Doorbell
from sluice.ledger.predictions import Ledger
from sluice.prediction import Prediction, Submission, digest

log = logging.getLogger(__name__)


class Intake:
    def __init__(
        self,
        ledger: Ledger,
        blobs: Blobs,
        doorbell: Doorbell,
        *,
        blob_ttl_s: int,
        orphan_ttl_s: int,
    ) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._doorbell = doorbell
        self._blob_ttl_s = blob_ttl_s
        self._orphan_ttl_s = orphan_ttl_s

    def accept(
        self,
        image: bytes,
        submission: Submission,
        prediction_id: str | None = None,
        *,
        max_backlog: int | None = None,
    ) -> Prediction:
        """Store the image, record the prediction, ring. Blocks for a few milliseconds. With an `image_url`, `image` is empty.

        `max_backlog` bounds what is live of the submission's key. An id that the caller chose may come again: the same submission
        changes nothing and is answered with the prediction as it is now. Raises IdReused, Gone, QueueFull or another Unavailable;
        then it is not accepted, but it may be on record where Redis did not answer in time.
        """
        chosen = prediction_id or new_id()
        mark = (
            digest(image, submission) if prediction_id else ""
        )  # nobody can repeat an id that they do not know
        key = input_key(chosen, mark)
        if prediction_id and (known := self._known(prediction_id, mark)):
            if not known.status.terminal:
                self._blobs.keep(
                    key, self._blob_ttl_s
                )  # whoever put it on record may have died before it came to this
            return known
        if image:
            self._blobs.put(key, image, self._blob_ttl_s)
        try:
            created = self._ledger.create(
                chosen, submission, mark, len(image), max_backlog=max_backlog
            )
        except (Conflict, Gone):
            self._forget(key)
            raise
        except QueueFull:
            if not prediction_id or not self._is_known(prediction_id):
                self._forget(key)
            raise
        except Unavailable:
            if not prediction_id:  # it may be on record all the same; one that has an id may by now be its repetition's too
                self.orphan(key)
            raise
        if created.prediction.status.terminal:
            self._forget(key)  # it ended between our look and our put, and took its image with it
            return created.prediction
        if prediction_id and image and not self._blobs.keep(key, self._blob_ttl_s):
            # A repetition that was refused meanwhile took it away; or else a worker, who has ended it already.
            self._blobs.put(key, image, self._blob_ttl_s)
            if self._ledger.get(chosen).status.terminal:
                self._forget(key)
        if (
            created.made and created.waiting <= MAX_WAITING_RINGS
        ):  # else somebody was rung for those before it
            self.ring(chosen)
        return created.prediction

    def cancel(self, prediction_id: str, key: str | None = None) -> Prediction:
        """Cancel what waits or runs, and forget its image. With `key`, another key's prediction is unknown.

        Raises Conflict when it has ended, NotFound, Gone, RedisUnavailable.
        """
        prediction = self._ledger.cancel(prediction_id, key)
        self._forget(input_key(prediction_id, prediction.digest))
        return prediction

    def orphan(self, key: str) -> None:
        """Keep an image only as long as one may that belongs to nothing."""
        try:
            self._blobs.keep(key, self._orphan_ttl_s)
        except Unavailable as error:
            log.warning("an image that may belong to nothing stays for as long as any: %s", error)

    def _forget(self, key: str) -> None:
        try:
            self._blobs.delete(key)
        except Unavailable as error:
            log.warning("an image that nobody needs stays until it expires: %s", error)

    def _known(self, prediction_id: str, mark: str) -> Prediction | None:
        """The prediction that has this id already. Raises IdReused, Gone."""
        try:
            found = self._ledger.get(prediction_id)
        except NotFound:
            return None
        if found.digest != mark:
            raise IdReused(
                f"the id {prediction_id!r} belongs to another submission; choose a new one"
            )
        return found

    def _is_known(self, prediction_id: str) -> bool:
        try:
            self._ledger.get(prediction_id)
        except (NotFound, Gone):
            return False
        return True

    def ring(self, prediction_id: str) -> None:
        """Wake a worker, if that can be done now."""
        try:
            self._doorbell.ring()
        except Unavailable as error:
            # It is on record, so it is accepted; the keeper rings for what nobody was told of.
            log.warning("nobody was told of prediction %s yet: %s", prediction_id, error)
