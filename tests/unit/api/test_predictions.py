"""Submitting and following, over the in-memory systems."""

import asyncio
import base64
import time
from io import BytesIO

import httpx
import pytest
from PIL import Image

from sluice.blobs.store import annotated_key, input_key
from sluice.errors import RedisUnavailable
from sluice.prediction import Parameters, Problem, Status, Submission
from tests.unit.api.conftest import World

pytestmark = pytest.mark.anyio


def _jpeg() -> bytes:
    out = BytesIO()
    Image.effect_noise((64, 48), 50).save(out, "JPEG")
    return out.getvalue()


JPEG = _jpeg()
RAW = {"Content-Type": "image/jpeg"}


async def test_an_accepted_image_is_stored_recorded_and_rung_for(
    http: httpx.AsyncClient, world: World
) -> None:
    answer = await http.post("/v1/predictions", content=JPEG, headers=RAW)
    assert answer.status_code == 202
    body = answer.json()
    assert answer.headers["location"] == f"http://test/v1/predictions/{body['id']}"
    recorded = world.ledger.get(body["id"])
    assert recorded.status is Status.STARTING
    assert world.blobs.get(input_key(recorded.id, recorded.digest)) == JPEG
    assert world.doorbell.rings == 1
    assert body["model"] == body["version"] == "codes"
    assert body["output"] is body["error"] is body["completed_at"] is None


async def test_a_failed_doorbell_does_not_refuse_a_recorded_prediction(
    http: httpx.AsyncClient, world: World
) -> None:
    world.doorbell.errors = [RedisUnavailable("away")]
    answer = await http.post("/v1/predictions", content=JPEG, headers=RAW)
    assert answer.status_code == 202
    assert world.ledger.get(answer.json()["id"]).status is Status.STARTING


async def test_parameters_are_the_same_in_every_form(http: httpx.AsyncClient, world: World) -> None:
    uri = "data:image/png;base64," + base64.b64encode(JPEG).decode()
    parameters = {
        "confidence": 0.5,
        "max_detections": 7,
        "visualize": True,
        "output_format": "webp",
        "class_agnostic": False,
    }
    fields = {
        "confidence": "0.5",
        "max_detections": "7",
        "visualize": "true",
        "output_format": "webp",
        "class_agnostic": "0",
    }
    answers = [
        await http.post(
            "/v1/predictions",
            json={"model": "codes", "input": {"image": uri, "classes": ["a", 2], **parameters}},
        ),
        await http.post(
            "/v1/predictions", files={"image": JPEG}, data={**fields, "classes": ["a", "2"]}
        ),
        await http.post(
            "/v1/predictions", content=JPEG, headers=RAW, params={**fields, "classes": ["a", "2"]}
        ),
        await http.post(
            "/v1/predictions",
            content=JPEG,
            headers={"Content-Type": "application/octet-stream"},
            params=fields,
        ),
    ]
    recorded = [world.ledger.get(answer.json()["id"]).parameters for answer in answers]
    expected = Parameters(
        confidence=0.5, max_detections=7, visualize=True, output_format="webp", classes=("a", 2)
    )
    by_text = expected.model_copy(update={"classes": ("a", "2")})
    assert recorded[:3] == [expected, by_text, by_text]
    assert recorded[3] == expected.model_copy(update={"classes": None})


async def test_an_image_of_the_maximum_size_is_accepted_in_every_form(
    http: httpx.AsyncClient,
) -> None:
    """The limit counts the image only, without the form around it."""
    padded = JPEG + bytes(50_000 - len(JPEG))
    for data, status in ((padded, 202), (padded + b"x", 413)):
        uri = "data:image/jpeg;base64," + base64.b64encode(data).decode()
        assert (await http.post("/v1/predictions", content=data, headers=RAW)).status_code == status
        assert (await http.post("/v1/predictions", files={"image": data})).status_code == status
        assert (
            await http.post("/v1/predictions", json={"input": {"image": uri}})
        ).status_code == status


async def test_a_client_that_asks_first_is_refused_before_it_sends(http: httpx.AsyncClient) -> None:
    """The body never ends, so an answer proves that the api did not read it."""

    async def endless():
        while True:
            yield bytes(1000)
            await asyncio.sleep(0)

    headers = {**RAW, "Expect": "100-continue", "Content-Length": "60000"}
    answer = await http.post("/v1/predictions", content=endless(), headers=headers)
    assert answer.status_code == 413


async def test_a_refused_image_leaves_no_trace(http: httpx.AsyncClient, world: World) -> None:
    for content in (b"", b"text", JPEG[:-40]):
        assert (await http.post("/v1/predictions", content=content, headers=RAW)).status_code in (
            415,
            422,
        )
    assert (await http.post("/v1/predictions?model=other", content=JPEG, headers=RAW)).json()[
        "code"
    ] == "unknown_model"
    assert (
        await http.post("/v1/predictions?classes=cat", content=JPEG, headers=RAW)
    ).status_code == 422
    assert world.ledger.backlog() == world.doorbell.rings == len(world.blobs._blobs) == 0


async def test_a_chosen_id_may_be_submitted_again(http: httpx.AsyncClient, world: World) -> None:
    first = await http.put("/v1/predictions/mine-1?confidence=0.5", content=JPEG, headers=RAW)
    assert first.status_code == 202
    assert first.json()["id"] == "mine-1"
    again = await http.put("/v1/predictions/mine-1?confidence=0.5", content=JPEG, headers=RAW)
    assert (again.status_code, again.json()) == (202, first.json())
    uri = "data:image/png;base64," + base64.b64encode(JPEG).decode()
    as_json = await http.put(
        "/v1/predictions/mine-1", json={"input": {"image": uri, "confidence": 0.5}}
    )
    assert as_json.json() == first.json(), "the form does not matter"
    assert world.doorbell.rings == world.ledger.backlog() == len(world.blobs._blobs) == 1
    for other in ({"confidence": "0.6"}, {}):
        refused = await http.put("/v1/predictions/mine-1", content=JPEG, headers=RAW, params=other)
        assert (refused.status_code, refused.json()["code"]) == (422, "id_reused")
    assert len(world.blobs._blobs) == 1
    claim = world.ledger.claim("w", 10)
    assert claim is not None
    world.ledger.succeed(claim, {"predictions": []}, {})
    ended = await http.put("/v1/predictions/mine-1?confidence=0.5", content=JPEG, headers=RAW)
    assert (ended.status_code, ended.json()["status"]) == (202, "succeeded")


async def test_cancel(http: httpx.AsyncClient, world: World) -> None:
    assert (await http.put("/v1/predictions/a", content=JPEG, headers=RAW)).status_code == 202
    canceled = await http.post("/v1/predictions/a/cancel")
    assert not world.blobs._blobs, "its image is forgotten"
    assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    again = await http.post("/v1/predictions/a/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert (await http.post("/v1/predictions/b/cancel")).status_code == 404


async def test_a_full_queue_gets_429_with_retry_after(
    http: httpx.AsyncClient, world: World
) -> None:
    for number in range(world.settings.max_backlog):
        world.ledger.create(f"p{number}", Submission(model="codes"))
    answer = await http.post("/v1/predictions", content=JPEG, headers=RAW)
    assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")
    assert int(answer.headers["retry-after"]) >= 1
    assert not world.blobs._blobs


async def test_long_polls_end_when_the_process_stops(http: httpx.AsyncClient, world: World) -> None:
    world.ledger.create("a", Submission(model="codes"))
    waiting = asyncio.create_task(http.get("/v1/predictions/a?wait=60"))
    while not world.events.waiting:
        await asyncio.sleep(0.01)
    world.events.closing = True
    world.events.waiting[0].set()
    assert (await asyncio.wait_for(waiting, 10)).json()["status"] == "starting"


async def test_a_stream_ends_with_a_hint_when_the_process_stops(
    http: httpx.AsyncClient, world: World
) -> None:
    world.ledger.create("a", Submission(model="codes"))
    world.events.close()
    answer = await http.get("/v1/predictions/a/stream")
    assert '"status": "starting"' in answer.text
    assert answer.text.endswith("\n\nretry: 500\n: this process ends; connect again\n\n")


async def test_a_stream_of_a_record_that_vanishes_ends_with_an_error(
    http: httpx.AsyncClient, world: World
) -> None:
    world.ledger.create("a", Submission(model="codes"))
    streaming = asyncio.create_task(http.get("/v1/predictions/a/stream"))
    while not world.events.waiting:
        await asyncio.sleep(0.01)
    world.ledger._rows.clear()
    world.events.waiting[0].set()
    events = (await asyncio.wait_for(streaming, 10)).text
    assert '"code": "not_found"' in events
    assert events.endswith('data: {"reason": "error"}\n\n')


async def test_get_tells_every_status(http: httpx.AsyncClient, world: World) -> None:
    world.ledger.create("a", Submission(model="codes"))
    starting = await http.get("/v1/predictions/a")
    assert starting.json()["status"] == "starting"
    assert starting.headers["retry-after"] == "1"
    claim = world.ledger.claim("w", 10)
    assert claim is not None
    assert (await http.get("/v1/predictions/a")).json()["status"] == "processing"
    world.ledger.fail(
        claim, Problem(code="not_an_image", message="it is none"), {"predict_time": 0.5}
    )
    failed = await http.get("/v1/predictions/a?wait=5")
    assert failed.json()["status"] == "failed"
    assert failed.json()["error"] == "it is none"
    assert failed.json()["error_code"] == "not_an_image"
    assert failed.json()["metrics"] == {"predict_time": 0.5}
    assert "retry-after" not in failed.headers


async def test_a_submission_that_waits_reads_its_record_once_at_its_end(
    http: httpx.AsyncClient, world: World
) -> None:
    reads = []
    get = world.ledger.get
    world.ledger.get = lambda *names: (reads.append(names), get(*names))[1]  # type: ignore[method-assign]
    waiting = asyncio.create_task(
        http.post("/v1/predictions", content=JPEG, headers={**RAW, "Prefer": "wait=60"})
    )
    while not world.events.waiting:
        await asyncio.sleep(0.01)
    claim = world.ledger.claim("w", 10)
    assert claim is not None
    world.ledger.succeed(claim, {"predictions": []}, {})
    world.events.publish(claim.prediction.id, Status.SUCCEEDED)
    answer = await asyncio.wait_for(waiting, 30)
    assert answer.status_code == 201
    assert reads == [(claim.prediction.id, "default")]


@pytest.mark.parametrize("heard", [True, False])
async def test_a_wait_ends_with_the_prediction_even_without_the_event(
    http: httpx.AsyncClient, world: World, heard: bool
) -> None:
    world.ledger.create("a", Submission(model="codes"))
    claim = world.ledger.claim("w", 10)
    assert claim is not None
    waiting = asyncio.create_task(http.get("/v1/predictions/a?wait=60"))
    while not world.events.waiting:
        await asyncio.sleep(0.01)
    world.ledger.succeed(claim, {"predictions": []}, {})
    if heard:
        world.events.waiting[0].set()
    assert (await asyncio.wait_for(waiting, 30)).json()["status"] == "succeeded"
    assert not world.events.waiting


async def test_a_wait_that_runs_out_returns_the_present_status(
    http: httpx.AsyncClient, world: World
) -> None:
    world.ledger.create("a", Submission(model="codes"))
    start = time.monotonic()
    answer = await http.get("/v1/predictions/a?wait=0.2")
    assert time.monotonic() - start >= 0.2
    assert answer.status_code == 200
    assert answer.json()["status"] == "starting"


async def test_the_annotated_image_is_served_once_the_prediction_succeeded(
    http: httpx.AsyncClient, world: World
) -> None:
    world.ledger.create("a", Submission(model="codes", parameters=Parameters(visualize=True)))
    assert (await http.get("/v1/predictions/a/image")).status_code == 409
    claim = world.ledger.claim("w", 10)
    assert claim is not None
    world.blobs.put(annotated_key("a"), JPEG, 60)
    world.ledger.succeed(claim, {"predictions": []}, {})
    image = await http.get("/v1/predictions/a/image")
    assert (image.status_code, image.content, image.headers["content-type"]) == (
        200,
        JPEG,
        "image/jpeg",
    )
    for data, kind in ((b"\x89PNG\r\n\x1a\n", "png"), (b"RIFF\0\0\0\0WEBP", "webp")):
        world.blobs.put(annotated_key("a"), data, 60)
        image = await http.get("/v1/predictions/a/image")
        assert (image.content, image.headers["content-type"]) == (data, f"image/{kind}")
    assert (await http.get("/v1/predictions/a")).json()["urls"][
        "image"
    ] == "http://test/v1/predictions/a/image"
    world.blobs.delete(annotated_key("a"))
    assert (await http.get("/v1/predictions/a/image")).status_code == 410


async def test_an_api_without_triton_and_without_a_list_of_models_is_not_ready(
    http: httpx.AsyncClient, world: World
) -> None:
    world.catalog.available = world.catalog.seen = False
    answer = await http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "unavailable",
        "redis": "ok",
        "blobs": "ok",
        "triton": "Triton is unavailable; try again later",
    }
    assert (await http.get("/healthz")).status_code == 200


async def test_an_api_with_a_list_of_models_is_ready_without_triton_and_says_so(
    http: httpx.AsyncClient, world: World
) -> None:
    assert "warnings" not in (await http.get("/readyz")).json()
    world.catalog.available = False
    answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert answer.json()["triton"] == "Triton is unavailable; try again later"
    assert answer.json()["warnings"] == [
        "Triton does not answer since 1970-01-01T00:00:02.000000Z; submissions are accepted and"
        " wait; the list of models is of 1970-01-01T00:00:01.000000Z"
    ]


async def test_an_api_is_ready_and_says_how_many_workers_lack_a_part(
    http: httpx.AsyncClient, world: World
) -> None:
    world.ledger.heartbeat("w1", 60, troubled=True)
    for name in ("w2", "w3"):
        world.ledger.heartbeat(name, 60)
    answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert answer.json()["warnings"] == ["1 of 3 workers can't reach Triton or the images' store"]


async def test_an_api_that_ends_is_not_ready(http: httpx.AsyncClient, world: World) -> None:
    world.events.close()
    answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "ending"})
