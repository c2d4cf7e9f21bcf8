"""Requeue a dead letter: its image is submitted again, as a new prediction."""

from sluice.blobs.store import Blobs, input_key
from sluice.errors import Conflict, Gone
from sluice.intake.intake import Intake
from sluice.ledger.answers import WORKER_LOST
from sluice.ledger.predictions import Ledger
from sluice.prediction import Prediction, Submission


def requeue(prediction_id: str, ledger: Ledger, blobs: Blobs, intake: Intake) -> Prediction:
    """Submit the image of a dead letter again, for the same API key and with the same options.

    The dead letter keeps its final status. Returns the new prediction.
    Raises NotFound, and Gone where the record or the image is no longer kept. Raises Conflict where
    the prediction is no dead letter, and QueueFull or another Unavailable.
    """
    letter = ledger.get(prediction_id)
    if letter.error is None or letter.error.code != WORKER_LOST.code:
        raise Conflict(f"prediction {prediction_id!r} is no dead letter; it is {letter.status}")
    image = blobs.get(input_key(letter.id, letter.digest))
    if image is None and letter.image_url is None:
        raise Gone(f"the image of {prediction_id!r} has expired; submit it again")
    submission = Submission(
        **{name: getattr(letter, name) for name in Submission.model_fields if name != "batch"}
    )
    return intake.accept_new(image or b"", submission)
