"""The options of a submission, and following it, over the in-memory systems."""

import asyncio
import base64
import json

import httpx
import pytest

from sluice.prediction import Priority, Status
from tests.unit.api.conftest import World
from tests.unit.api.test_predictions import JPEG, RAW

pytestmark = pytest.mark.anyio

URL = "https://images.example.com/a.jpg?signature=1"


async def test_options_are_the_same_in_every_form(http: httpx.AsyncClient, world: World) -> None:
    options = {
        "priority": "low",
        "metadata": {"line": 4},
        "webhook": "https://hooks.example.com/",
        "webhook_events_filter": ["start", "completed"],
    }
    fields = {**options, "metadata": json.dumps(options["metadata"])}
    answers = [
        await http.post("/v1/predictions", json={"input": {"image": URL}, **options}),
        await http.post("/v1/predictions", files={"image": JPEG}, data=fields),
        await http.post("/v1/predictions", data=fields | {"image": URL}, files={"x": b""}),
        await http.post("/v1/predictions", content=JPEG, headers=RAW, params=fields),
    ]
    assert [answer.status_code for answer in answers] == [202, 202, 422, 202], answers[2].text
    for answer in (answers[0], answers[1], answers[3]):
        recorded = world.ledger.get(answer.json()["id"])
        assert (recorded.priority, recorded.metadata, recorded.webhook) == (
            Priority.LOW,
            {"line": 4},
            "https://hooks.example.com/",
        )
        assert recorded.webhook_events == ("start", "completed")
        assert recorded.base_url == "http://test"
        assert answer.json()["metadata"] == {"line": 4}


async def test_an_image_by_url_is_not_fetched_by_the_api(
    http: httpx.AsyncClient, world: World
) -> None:
    answer = await http.post("/v1/predictions", json={"input": {"image": URL}})
    assert answer.status_code == 202
    assert answer.json()["input"]["image"] == URL
    assert world.ledger.get(answer.json()["id"]).image_url == URL
    assert not world.blobs._blobs


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"input": {"image": "ftp://example.com/a"}}, "input.image"),
        ({"input": {"image": "data:image/jpeg;base64,é"}}, "base64"),
        ({"input": {"image": URL + "x" * 8192}}, "8,192"),
        ({"input": {"image": URL, "classes": ["c" * 256]}}, "classes"),
        ({"input": {"image": "http://127.0.0.1/a"}}, "127.0.0.1"),
        ({"input": {"image": "http://169.254.169.254/latest"}}, "169.254.169.254"),
        ({"input": {"image": URL}, "webhook": "http://[::1]/hook"}, "::1"),
        ({"input": {"image": URL}, "webhook": "nowhere"}, "URL"),
        ({"input": {"image": URL}, "priority": "urgent"}, "priority"),
        ({"input": {"image": URL}, "metadata": {"x": "y" * 5000}}, "metadata"),
        ({"input": {"image": URL}, "metadata": [1]}, "metadata"),
        ({"input": {"image": URL}, "webhook_events_filter": ["end"]}, "webhook_events_filter"),
        ({"input": {"image": URL}, "model": "codes", "version": "other"}, "model or version"),
        ({"input": {"image": URL}, "model": "a/codes", "version": "b/c:d"}, "two different"),
        ({"input": {"image": URL}, "version": "codes:other"}, "no version 'other'"),
        ({"input": {"image": URL}, "colour": "red"}, "colour"),
    ],
)
async def test_a_refusal_names_the_wrong_field(
    http: httpx.AsyncClient, world: World, body: object, word: str
) -> None:
    answer = await http.post("/v1/predictions", json=body)
    assert answer.status_code == 422
    assert word in answer.json()["detail"]
    assert world.ledger.backlog() == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("metadata", "[" * 20_000),
        ("metadata", '{"a": NaN}'),
        ("metadata", '{"a": 1e999}'),
        ("metadata", '{"\\ud800": 1}'),
        ("metadata", '{"a": "\\ud800"}'),
        ("classes", "9" * 5000),
        ("model", "m" * 300),
        ("x" * 2000, "1"),
    ],
)
async def test_json_that_only_python_can_read_is_refused(
    http: httpx.AsyncClient, world: World, name: str, value: str
) -> None:
    """A lone surrogate on record would break every list with that prediction."""
    answer = await http.post("/v1/predictions", files={"image": JPEG}, data={name: value})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert name[:100] in answer.json()["detail"]
    assert world.ledger.backlog() == 0


async def test_a_charset_in_the_content_type_is_ignored(http: httpx.AsyncClient) -> None:
    body = b'--X\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + JPEG
    body += b'\r\n--X\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n'
    body += b'{"a": "\xc3\xa9"}\r\n--X--\r\n'
    for codec in ("undefined", "punycode", "unicode_escape"):
        headers = {"Content-Type": f"multipart/form-data; boundary=X; charset={codec}"}
        answer = await http.post("/v1/predictions", content=body, headers=headers)
        assert answer.status_code == 202, answer.text
        assert answer.json()["metadata"] == {"a": "é"}


async def test_a_problem_is_short_for_any_number_of_errors(http: httpx.AsyncClient) -> None:
    for body in ({f"field-{number}": 1 for number in range(3000)}, {"x" * 30_000: 1}):
        answer = await http.post("/v1/predictions", json=body)
        assert answer.status_code == 422
        assert len(answer.content) < 5000


async def test_url_schemes_are_of_either_case(http: httpx.AsyncClient) -> None:
    uri = "DATA:image/jpeg;BASE64," + base64.b64encode(JPEG).decode()
    for image in (uri, "HTTPS://images.example.com/a.jpg"):
        answer = await http.post("/v1/predictions", json={"input": {"image": image}})
        assert answer.status_code == 202, answer.text


async def test_an_idempotency_key_makes_one_prediction(
    http: httpx.AsyncClient, world: World
) -> None:
    headers = {**RAW, "Idempotency-Key": "order-17"}
    first, again = [
        await http.post("/v1/predictions", content=JPEG, headers=headers) for _ in range(2)
    ]
    assert first.json()["id"] == again.json()["id"]
    assert world.ledger.backlog() == 1
    other = await http.post("/v1/predictions?confidence=0.9", content=JPEG, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "id_reused")
    assert (
        await http.post(
            "/v1/predictions", content=JPEG, headers={**RAW, "Idempotency-Key": "order-18"}
        )
    ).json()["id"] != first.json()["id"]
    for number in range(world.settings.max_backlog - 2):
        await http.post(
            "/v1/predictions", content=JPEG, headers={**RAW, "Idempotency-Key": f"fill-{number}"}
        )
    assert (await http.post("/v1/predictions", content=JPEG, headers=RAW)).status_code == 429
    assert (await http.post("/v1/predictions", content=JPEG, headers=headers)).status_code == 202, (
        "it is in already"
    )


async def test_cancel_after_sets_the_deadline(http: httpx.AsyncClient, world: World) -> None:
    for text, seconds in (("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400)):
        answer = await http.post(
            "/v1/predictions", content=JPEG, headers={**RAW, "Cancel-After": text}
        )
        assert world.ledger.get(answer.json()["id"]).start_within_s == seconds
    for text in ("", "0", "-1", "soon", "1.5", "5 m"):
        answer = await http.post(
            "/v1/predictions", content=JPEG, headers={**RAW, "Cancel-After": text}
        )
        assert (answer.status_code, "Cancel-After" in answer.text) == (422, True), text


async def test_prefer_wait_holds_the_answer(http: httpx.AsyncClient, world: World) -> None:
    asking = asyncio.create_task(
        http.put(
            "/v1/predictions/a", content=JPEG, headers={**RAW, "Prefer": "respond-async, wait=50"}
        )
    )
    while not world.events.waiting:
        await asyncio.sleep(0.01)
    claim = world.ledger.claim("w", 10)
    assert claim is not None
    world.ledger.succeed(claim, {"predictions": []}, {})
    world.events.waiting[0].set()
    answer = await asyncio.wait_for(asking, 30)
    assert (answer.status_code, answer.json()["status"]) == (201, "succeeded")
    assert answer.headers["preference-applied"] == "wait=50"
    late = await http.put("/v1/predictions/b", content=JPEG, headers={**RAW, "Prefer": "wait=0.1"})
    assert (late.status_code, late.json()["status"]) == (202, "starting")
    lines = [
        ("Prefer", "respond-async"),
        ("Prefer", 'handling=lenient, wait="0.1"; x=y'),
    ]  # all forms that RFC 7240 has
    late = await http.put("/v1/predictions/b", content=JPEG, headers=[*RAW.items(), *lines])
    assert late.headers["preference-applied"] == "wait=0.1"
    for ignored in ("respond-async", "wait=soon", "handling=lenient"):
        assert (
            await http.put("/v1/predictions/b", content=JPEG, headers={**RAW, "Prefer": ignored})
        ).status_code == 202


async def test_a_full_queue_refuses_before_the_body_comes(
    http: httpx.AsyncClient, world: World
) -> None:
    for number in range(world.settings.max_backlog):
        await http.put(f"/v1/predictions/p{number}", content=JPEG, headers=RAW)

    async def endless():
        while True:
            yield bytes(1000)
            await asyncio.sleep(0)

    answer = await asyncio.wait_for(
        http.post("/v1/predictions", content=endless(), headers=RAW), 30
    )
    assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")


@pytest.mark.parametrize(("upload_s", "pause_s"), [((0.5, 60), 100.0), ((30, 1), 0.02)])
async def test_a_body_that_stalls_or_drips_is_cut_off(
    http: httpx.AsyncClient, pause_s: float
) -> None:
    async def slow():
        while True:
            yield b"x"
            await asyncio.sleep(pause_s)

    answer = await asyncio.wait_for(http.post("/v1/predictions", content=slow(), headers=RAW), 30)
    assert (answer.status_code, answer.json()["code"]) == (408, "upload_too_slow")


async def test_the_list_of_predictions_comes_in_pages(
    http: httpx.AsyncClient, world: World
) -> None:
    for number in range(4):
        await http.put(f"/v1/predictions/p{number}", content=JPEG, headers=RAW)
    world.ledger.cancel("p0")
    page = (await http.get("/v1/predictions?limit=3")).json()
    assert [entry["id"] for entry in page["results"]] == ["p3", "p2", "p1"]
    assert page["previous"] is None
    rest = (await http.get(page["next"])).json()
    assert [entry["id"] for entry in rest["results"]] == ["p0"]
    assert rest["next"] is None
    assert [entry["id"] for entry in (await http.get(rest["previous"])).json()["results"]] == [
        "p3",
        "p2",
        "p1",
    ]
    canceled = (await http.get("/v1/predictions?status=canceled&since=2020-01-01T00:00:00Z")).json()
    assert [entry["id"] for entry in canceled["results"]] == ["p0"]
    assert (await http.get("/v1/predictions?since=2999-01-01T00:00:00Z")).json()["results"] == []
    for wrong in ("cursor=x", "limit=0", "limit=1000", "status=done", "since=yesterday"):
        assert (await http.get(f"/v1/predictions?{wrong}")).status_code == 422, wrong


async def test_an_unchanged_prediction_gets_304(http: httpx.AsyncClient, world: World) -> None:
    await http.put("/v1/predictions/a", content=JPEG, headers=RAW)
    first = await http.get("/v1/predictions/a")
    assert first.json()["queue_position"] == 1
    headers = {"If-None-Match": f'"other", {first.headers["etag"]}'}
    again = await http.get("/v1/predictions/a", headers=headers)
    assert (again.status_code, again.content, again.headers["etag"]) == (
        304,
        b"",
        first.headers["etag"],
    )
    world.ledger.claim("w", 10)
    assert (await http.get("/v1/predictions/a", headers=headers)).json()["status"] == "processing"


async def test_a_cancellation_tells_the_status_before(
    http: httpx.AsyncClient, world: World
) -> None:
    for name in "ab":
        await http.put(f"/v1/predictions/{name}", content=JPEG, headers=RAW)
        if name == "a":
            world.ledger.claim("w", 10)
    assert (await http.post("/v1/predictions/a/cancel")).json()["canceled_from"] == "processing"
    assert (await http.post("/v1/predictions/b/cancel")).json()["canceled_from"] == "starting"


async def test_a_stream_sends_status_logs_output_and_done(
    http: httpx.AsyncClient, world: World
) -> None:
    await http.put("/v1/predictions/a", content=JPEG, headers=RAW)
    reading = asyncio.create_task(http.get("/v1/predictions/a/stream"))
    while not world.events.waiting:
        await asyncio.sleep(0.01)
    claim = world.ledger.claim("w", 10)
    assert claim is not None
    world.events.waiting[0].set()
    while world.events.waiting[0].is_set():
        await asyncio.sleep(0.01)
    world.ledger.succeed(claim, {"predictions": []}, {}, "attempt 1: done")
    world.events.waiting[0].set()
    answer = await asyncio.wait_for(reading, 30)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [
        dict(line.split(": ", 1) for line in entry.splitlines()[:3])
        for entry in answer.text.strip().split("\n\n")
    ]
    kinds = [entry["event"] for entry in events]
    assert kinds[0] == "status"
    assert kinds[-4:] == ["status", "logs", "output", "done"]
    statuses = [
        json.loads(entry["data"])["status"] for entry in events if entry["event"] == "status"
    ]
    assert statuses[0] == Status.STARTING
    assert statuses[-1] == Status.SUCCEEDED
    assert json.loads(events[-2]["data"]) == {"predictions": []}
    chosen = await http.get("/v1/predictions/a/stream?events=output,done")
    assert [line for line in chosen.text.splitlines() if line.startswith("event")] == [
        "event: output",
        "event: done",
    ]
    assert (await http.get("/v1/predictions/a/stream?events=all")).status_code == 422
    assert (await http.get("/v1/predictions/b/stream")).status_code == 404


async def test_a_resumed_stream_continues_the_logs(http: httpx.AsyncClient, world: World) -> None:
    await http.put("/v1/predictions/a", content=JPEG, headers=RAW)
    claim = world.ledger.claim("w", 10)
    assert claim is not None
    world.ledger.succeed(claim, {"predictions": []}, {}, "attempt 1: done")
    entries = (await http.get("/v1/predictions/a/stream")).text.split("\n\n")
    ids = {
        kind: entry.split("\nid: ")[1].split("\n")[0]
        for entry in entries
        if entry
        for kind in (entry.split()[1],)
    }
    assert len(set(ids.values())) == len(ids) == 4
    whole = ["status", "logs", "output", "done"]
    without_logs = ["status", "output", "done"]
    for last_id, kinds in (
        (ids["status"], whole),
        (ids["logs"], without_logs),
        ("b:2:9", whole),
        ("nonsense", whole),
    ):
        text = (await http.get("/v1/predictions/a/stream", headers={"Last-Event-ID": last_id})).text
        assert [line[7:] for line in text.splitlines() if line.startswith("event: ")] == kinds
        assert last_id not in text


async def test_the_queue_tells_its_load(http: httpx.AsyncClient, world: World) -> None:
    world.ledger.heartbeat("w", 60)
    await http.put("/v1/predictions/a", content=JPEG, headers=RAW)
    assert (await http.get("/v1/queue")).json() | {"oldest_s": 0} == {
        "backlog": 1,
        "processing": 0,
        "oldest_s": 0,
        "workers": 1,
        "per_s": 0,
        "estimated_wait_s": None,
    }


async def test_metrics_count_requests_by_route_and_show_the_queue(http: httpx.AsyncClient) -> None:
    await http.put("/v1/predictions/a", content=JPEG, headers=RAW)
    for name in ("a", "b", "c"):
        await http.get(f"/v1/predictions/{name}")
    await http.get("/nowhere")
    text = (await http.get("/metrics")).text
    assert (
        'sluice_http_requests_total{method="PUT",route="/v1/predictions/{id}",status="202"} 1.0'
        in text
    )
    assert (
        'sluice_http_requests_total{method="GET",route="/v1/predictions/{id}",status="404"} 2.0'
        in text
    )
    assert 'route="none",status="404"} 1.0' in text
    assert "sluice_queue_backlog 1.0" in text
