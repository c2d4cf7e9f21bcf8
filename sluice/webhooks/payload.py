"""Payloads of webhook events. A payload has the same data as the answer of `GET`."""

import json
from collections.abc import Mapping
from typing import Any

from sluice.delivery import Delivery
from sluice.ledger.batches import from_batch_record
from sluice.ledger.record import from_record
from sluice.prediction import Status, isoformat
from sluice.resources import BatchAnswer, PredictionAnswer

_NOT_ENDED: dict[str, Any] = {
    "output": None,
    "error": None,
    "completed_at": None,
    "metrics": {},
    "logs": "",
}


def event_body(delivery: Delivery, record: Mapping[bytes, bytes], public_url: str | None) -> bytes:
    """An event's body, made from the Redis record of its prediction or batch.

    The same record gives the same bytes, so every attempt sends the same body.
    URLs begin with `public_url`, or with the submitting request's base URL where it is None.
    If `record` has `output_left_out`, the output was too long; `data` then has an `output_url`.
    """
    if delivery.kind == "batch":
        data = _batch(delivery, record, public_url)
    else:
        data = _prediction(delivery, record, public_url)
    return payload(f"{delivery.kind}.{delivery.event}", delivery.created_at, data)


def webhook_test_body(at: float) -> bytes:
    """The body of a test event. `at`: in seconds since the epoch."""
    return payload("webhook.test", at, {"message": "A test event of Sluice: the webhook works."})


def payload(type_: str, at: float, data: Mapping[str, Any]) -> bytes:
    """An event's body as JSON. `at` is the time of the event, in seconds since the epoch."""
    body = {"type": type_, "timestamp": isoformat(at), "data": data}
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def _batch(
    delivery: Delivery, record: Mapping[bytes, bytes], public_url: str | None
) -> dict[str, Any]:
    batch = from_batch_record(delivery.subject_id, record)
    return BatchAnswer.from_batch(batch, public_url or batch.base_url).model_dump(mode="json")


def _prediction(
    delivery: Delivery, record: Mapping[bytes, bytes], public_url: str | None
) -> dict[str, Any]:
    prediction = from_record(delivery.subject_id, record)
    if delivery.event == "start":  # the prediction may have ended since
        prediction = prediction.model_copy(update={"status": Status.PROCESSING, **_NOT_ENDED})
    answer = PredictionAnswer.from_prediction(prediction, public_url or prediction.base_url)
    data = answer.model_dump(mode="json")
    if b"output_left_out" in record:
        data["output_url"] = answer.urls.get
    return data
