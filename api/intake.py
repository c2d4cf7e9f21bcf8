"""Taking a prediction in. The order is the promise: what was answered with 202 is stored and on record."""

import base64
import logging
import secrets

from sluice.blobs import Blobs, input_key
from sluice.errors import Unavailable
from sluice.ledger import Ledger
from sluice.prediction import Parameters, Prediction
from sluice.queue import Doorbell

log = logging.getLogger(__name__)


class Intake:
    def __init__(self, ledger: Ledger, blobs: Blobs, doorbell: Doorbell, *, blob_ttl_s: int) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._doorbell = doorbell
        self._blob_ttl_s = blob_ttl_s

    def accept(self, image: bytes, model: str, parameters: Parameters) -> Prediction:
        """Store the image, record the prediction, ring. Blocks for about a millisecond; raises Unavailable."""
        prediction_id = new_id()
        self._blobs.put(input_key(prediction_id), image, self._blob_ttl_s)
        prediction = self._ledger.create(prediction_id, model, parameters)
        try:
            self._doorbell.ring()
        except Unavailable as error:
            # It is on record, so it is accepted; the keeper rings for what nobody was told of.
            log.warning("nobody was told of prediction %s yet: %s", prediction_id, error)
        return prediction


def new_id() -> str:
    """26 characters of a-z and 2-7 that nobody can guess: 130 bits, in the form of Replicate's ids."""
    return base64.b32encode(secrets.token_bytes(17))[:26].decode().lower()
