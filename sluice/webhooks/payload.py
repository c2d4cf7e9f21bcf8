"""What webhooks say of a prediction or a batch: what `GET` says of it."""

from collections.abc import Mapping
from typing import Any

from sluice.delivery import Delivery
from sluice.ledger.batches import from_batch_record
from sluice.ledger.record import from_record
from sluice.prediction import Status
from sluice.resources import BatchAnswer, PredictionAnswer
from sluice.webhooks.signing import payload

_BEFORE_THE_END: dict[str, Any] = {
    "output": None,
    "error": None,
    "completed_at": None,
    "metrics": {},
    "logs": "",
}


def event_body(delivery: Delivery, record: Mapping[bytes, bytes], public_url: str | None) -> bytes:
    """An event's payload, from the record of what it is about. The same record makes the same bytes.

    An output that is too long is not in `record`, which has `output_left_out` then: `data` has an `output_url` for it. URLs begin
    with `public_url`, or where the client reached the api when it submitted.
    """
    if delivery.kind == "batch":
        batch = from_batch_record(delivery.subject_id, record)
        said = BatchAnswer.from_batch(batch, public_url or batch.base_url).model_dump(mode="json")
        return payload(f"{delivery.kind}.{delivery.event}", delivery.created_at, said)
    prediction = from_record(delivery.subject_id, record)
    if delivery.event == "start":  # it may have ended meanwhile
        prediction = prediction.model_copy(update={"status": Status.PROCESSING, **_BEFORE_THE_END})
    answer = PredictionAnswer.from_prediction(prediction, public_url or prediction.base_url)
    data = answer.model_dump(mode="json")
    if b"output_left_out" in record:
        data["output_url"] = answer.urls.get
    return payload(f"{delivery.kind}.{delivery.event}", delivery.created_at, data)
