"""Payloads are made from records in the ledger's form."""

import json
from typing import Any

from sluice.delivery import Delivery
from sluice.ledger.batches import from_batch_record
from sluice.ledger.record import from_record, to_record
from sluice.prediction import Parameters, Submission
from sluice.resources import BatchAnswer, PredictionAnswer
from sluice.webhooks.payload import event_body

SUBMISSION = Submission(
    model="codes",
    parameters=Parameters(visualize=True),
    metadata={"camera": 7},
    webhook="https://a.example/hook",
    base_url="http://api.example",
)


def record(**fields: str) -> dict[bytes, bytes]:
    flat = to_record(SUBMISSION, "d")
    kept = {
        "status": "succeeded",
        "priority": "normal",
        "key": "camera",
        "created_at": "1667507170.1",
        "started_at": "1667507170.2",
    }
    ended = {
        "completed_at": "1667507170.3",
        "output": '{"predictions":[]}',
        "metrics": '{"predict_time":0.1}',
        "logs": "done\n",
    }
    fields = dict(zip(flat[::2], flat[1::2], strict=True)) | kept | ended | fields
    return {name.encode(): value.encode() for name, value in fields.items()}


def delivery(event: str) -> Delivery:
    fields: dict[str, Any] = {
        "id": f"a_{event}",
        "kind": "prediction",
        "subject_id": "a",
        "event": event,
        "url": "u",
        "key": "camera",
    }
    return Delivery(**fields, status="sending", created_at=1667507170.3)


def test_the_completed_event_has_the_answer_of_get() -> None:
    body = event_body(delivery("completed"), record(), None)
    sent = json.loads(body)
    assert (sent["type"], sent["timestamp"]) == (
        "prediction.completed",
        "2022-11-03T20:26:10.300000Z",
    )
    answer = PredictionAnswer.from_prediction(from_record("a", record()), "http://api.example")
    assert sent["data"] == answer.model_dump(mode="json")
    assert sent["data"]["output"] == {"predictions": []}
    assert sent["data"]["urls"]["get"] == "http://api.example/v1/predictions/a"
    assert body == event_body(delivery("completed"), record(), None)


def test_a_start_event_has_nothing_that_came_later() -> None:
    data = json.loads(event_body(delivery("start"), record(), None))["data"]
    assert (
        data["status"],
        data["output"],
        data["completed_at"],
        data["metrics"],
        data["logs"],
    ) == (
        "processing",
        None,
        None,
        {},
        "",
    )
    early = {
        name: value
        for name, value in record(status="processing").items()
        if name not in (b"output", b"completed_at", b"logs")
    }
    assert json.loads(event_body(delivery("start"), early, None))["data"] == data


def test_the_public_url_comes_first() -> None:
    data = json.loads(event_body(delivery("completed"), record(), "https://sluice.example"))["data"]
    assert data["urls"]["get"] == "https://sluice.example/v1/predictions/a"


def test_an_output_that_is_too_long_has_a_link() -> None:
    left_out = {name: value for name, value in record().items() if name != b"output"} | {
        b"output_left_out": b"1"
    }
    data = json.loads(event_body(delivery("completed"), left_out, None))["data"]
    assert data["output"] is None
    assert data["output_url"] == data["urls"]["get"]


def test_a_batch_event_has_the_answer_of_get() -> None:
    fields = {
        "model": "codes",
        "key": "camera",
        "total": "2",
        "priority": "normal",
        "created_at": "1667507170.1",
        "succeeded": "2",
    }
    ended = {name.encode(): value.encode() for name, value in fields.items()} | {
        b"completed_at": b"1667507170.3"
    }
    sent = json.loads(
        event_body(
            delivery("completed").model_copy(update={"kind": "batch"}),
            ended,
            "https://sluice.example",
        )
    )
    assert sent["type"] == "batch.completed"
    assert sent["data"] == BatchAnswer.from_batch(
        from_batch_record("a", ended), "https://sluice.example"
    ).model_dump(mode="json")
