"""Events of webhooks, verified."""

import json
import time

import pytest

from sluice.client import Batch, Prediction, read_event
from sluice.webhooks.signing import new_secret, signature
from tests.support.answers import output, prediction

SECRET = new_secret()


def _signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    now = int(time.time())
    return {
        "Webhook-Id": "a_completed",
        "Webhook-Timestamp": str(now),
        "Webhook-Signature": signature("a_completed", now, body, [secret]),
    }


def _event(type_: str, data: dict) -> bytes:
    return json.dumps({"type": type_, "timestamp": "2026-11-28T10:00:00Z", "data": data}).encode()


def test_an_event_has_the_prediction() -> None:
    body = _event("prediction.completed", prediction(status="succeeded", output=output()))
    event = read_event(_signed(body), body, SECRET)
    assert (event.id, event.type) == ("a_completed", "prediction.completed")
    assert isinstance(event.data, Prediction)
    assert event.data.succeeded


def test_an_event_of_a_batch_has_the_batch() -> None:
    batch = {
        "id": "b",
        "model": "codes",
        "status": "succeeded",
        "total": 0,
        "counts": {},
        "missing": 0,
        "errors": [],
        "completed_at": None,
    }
    body = _event("batch.completed", batch)
    assert isinstance(read_event(_signed(body), body, SECRET).data, Batch)


def test_a_test_event_has_no_data() -> None:
    body = _event("webhook.test", {"message": "works"})
    event = read_event(_signed(body), body, SECRET)
    assert (event.type, event.data, event.output_url) == ("webhook.test", None, None)


def test_a_forged_event_is_refused() -> None:
    body = _event("prediction.completed", prediction())
    with pytest.raises(ValueError, match="no signature matches"):
        read_event(_signed(body, new_secret()), body, SECRET)
    with pytest.raises(ValueError, match="no signature matches"):
        read_event(_signed(body), body + b" ", SECRET)
