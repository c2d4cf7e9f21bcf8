"""The webhooks' routes over the in-memory systems."""

import json

import httpx
import pytest

from api.schemas import PredictionEvent
from sluice.delivery import AttemptOutcome, AttemptResult, Delivery, DeliveryAttempt
from sluice.ledger.record import to_record
from sluice.prediction import Submission
from sluice.webhooks.payload import event_body
from tests.unit.api.conftest import World

pytestmark = pytest.mark.anyio

URL = "https://a.example/hook"


def _fail(world: World) -> None:
    (outgoing,) = world.deliveries.claim("w", 10).outgoing
    attempt = DeliveryAttempt(at=0, duration_s=0.5, status=500, answer="no")
    world.deliveries.settle([AttemptOutcome(outgoing, AttemptResult.FAILED, attempt, b"{}", None)])


async def test_a_delivery_is_logged_and_sent_again_on_demand(
    http: httpx.AsyncClient, world: World
) -> None:
    world.ledger.create("a", Submission(model="codes", webhook=URL))
    assert (await http.get("/v1/predictions/a/deliveries")).json() == {"results": []}
    world.deliveries.records["a"] = {}
    world.deliveries.file("a", "completed", URL)
    _fail(world)
    (delivery,) = (await http.get("/v1/predictions/a/deliveries")).json()["results"]
    assert (delivery["id"], delivery["type"], delivery["url"]) == (
        "a_completed",
        "prediction.completed",
        URL,
    )
    assert (
        delivery["status"],
        delivery["reason"],
        delivery["attempts"],
        delivery["next_attempt_at"],
    ) == (
        "dead",
        "attempts",
        1,
        None,
    )
    assert delivery["log"] == [
        {
            "at": "1970-01-01T00:00:00.000000Z",
            "duration_s": 0.5,
            "status": 500,
            "error": None,
            "answer": "no",
        }
    ]
    answer = await http.post("/v1/deliveries/a_completed/redeliver")
    assert answer.status_code == 202
    assert answer.json()["status"] == "waiting"
    assert answer.json()["next_attempt_at"]
    assert (await http.post("/v1/deliveries/a_completed/redeliver")).status_code == 409
    assert (await http.post("/v1/deliveries/b_completed/redeliver")).status_code == 404
    assert (await http.post("/v1/deliveries/b.completed/redeliver")).status_code == 422
    assert (await http.get("/v1/predictions/b/deliveries")).status_code == 404


async def test_a_batch_has_its_own_delivery(http: httpx.AsyncClient, world: World) -> None:
    world.deliveries.records["b"] = {}
    world.deliveries.file("b", "completed", URL, kind="batch")
    _fail(world)
    (delivery,) = (await http.get("/v1/batches/b/deliveries")).json()["results"]
    assert (delivery["id"], delivery["type"]) == ("b_batch_completed", "batch.completed")
    assert (await http.post("/v1/deliveries/b_batch_completed/redeliver")).status_code == 202
    assert (await http.get("/v1/predictions/b/deliveries")).status_code == 404
    assert (await http.get("/v1/batches/c/deliveries")).status_code == 404


async def test_the_secret_is_the_newest_of_the_caller(
    http: httpx.AsyncClient, world: World
) -> None:
    world.secrets.by_key["camera"] = ("whsec_other",)
    first = (await http.get("/v1/webhooks/default/secret")).json()
    assert first == {"key": world.secrets.for_key("default")[0]}
    world.secrets.rotate("default")
    assert (
        (await http.get("/v1/webhooks/default/secret")).json()
        == {"key": world.secrets.for_key("default")[0]}
        != first
    )


async def test_openapi_describes_the_events_of_webhooks(http: httpx.AsyncClient) -> None:
    schema = (await http.get("/openapi.json")).json()
    assert set(schema["webhooks"]) == {"prediction", "batch", "test"}
    fields = {
        "id": "a_completed",
        "kind": "prediction",
        "subject_id": "a",
        "event": "completed",
        "url": URL,
        "key": "default",
    }
    delivery = Delivery.model_validate(fields | {"status": "sending", "created_at": 1})
    flat = to_record(Submission(model="codes", webhook=URL, base_url="http://test"), "d")
    record = dict(zip(flat[::2], flat[1::2], strict=True)) | {
        "status": "succeeded",
        "priority": "normal",
        "key": "default",
        "created_at": "1",
    }
    body = event_body(
        delivery, {name.encode(): value.encode() for name, value in record.items()}, None
    )
    assert PredictionEvent.model_validate_json(body).model_dump(
        mode="json", exclude={"data": {"output_url"}}
    ) == json.loads(body)
