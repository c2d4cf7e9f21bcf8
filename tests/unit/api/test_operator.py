"""An operator's key reaches what all keys own; any other key gets 403 or 404."""

from pathlib import Path

import httpx
import pytest

from sluice.access.keys_file import KeysFile
from sluice.batch import BatchSubmission
from sluice.blobs.store import input_key
from sluice.delivery import AttemptOutcome, AttemptResult, DeliveryAttempt
from sluice.ledger.timeline import Ends
from sluice.prediction import Submission
from tests.support.dead_letters import let_die
from tests.unit.api.conftest import World

pytestmark = pytest.mark.anyio

Headers = dict[str, str]
URL = "https://a.example/hook"
BATCH = "b" * 26


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def _header(api_key: str) -> Headers:
    return {"Authorization": f"Bearer {api_key}"}


@pytest.fixture
def camera(keys_file: Path) -> Headers:
    return _header(KeysFile(keys_file).create("camera", None, None, None))


@pytest.fixture
def gate(keys_file: Path) -> Headers:
    """A key that may submit once."""
    return _header(KeysFile(keys_file).create("gate", 0.001, 1, None))


@pytest.fixture
def operator(keys_file: Path) -> Headers:
    return _header(KeysFile(keys_file).create("ops", None, None, None, operator=True))


@pytest.fixture
def http(camera: Headers, gate: Headers, operator: Headers, http: httpx.AsyncClient) -> object:
    """The api, which reads the keys at its start."""
    return http


@pytest.fixture
def filled(world: World) -> World:
    """A prediction, a batch and a failed delivery of `door`, and a prediction of `camera`."""
    world.ledger.create("a", Submission(model="codes", key="door", webhook=URL))
    world.ledger.create("c", Submission(model="codes", key="camera"))
    world.batches.open(BATCH, BatchSubmission(model="codes", total=1, key="door"))
    world.deliveries.records["a"] = {}
    world.deliveries.file("a", "completed", URL, key="door")
    (outgoing,) = world.deliveries.claim("w", 10).outgoing
    attempt = DeliveryAttempt(at=0, duration_s=0.5, status=500, answer="no")
    world.deliveries.settle([AttemptOutcome(outgoing, AttemptResult.FAILED, attempt, b"{}", None)])
    return world


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/predictions/a"),
        ("POST", "/v1/predictions/a/cancel"),
        ("GET", "/v1/predictions/a/stream"),
        ("GET", "/v1/predictions/a/image"),
        ("GET", "/v1/predictions/a/deliveries"),
        ("GET", f"/v1/batches/{BATCH}"),
        ("GET", f"/v1/batches/{BATCH}/predictions"),
        ("POST", f"/v1/batches/{BATCH}/cancel"),
        ("GET", "/v1/deliveries/a_completed"),
        ("POST", "/v1/deliveries/a_completed/redeliver"),
    ],
)
async def test_another_keys_things_are_not_found(
    http: httpx.AsyncClient, filled: World, camera: Headers, method: str, path: str
) -> None:
    answer = await http.request(method, path, headers=camera)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/predictions?key=*"),
        ("GET", "/v1/predictions?key=door"),
        ("GET", "/v1/dead-letters"),
        ("POST", "/v1/dead-letters/a/requeue"),
        ("GET", "/v1/deliveries"),
        ("GET", "/v1/queue/timeline"),
    ],
)
async def test_operators_calls_are_forbidden_to_other_keys(
    http: httpx.AsyncClient, filled: World, camera: Headers, method: str, path: str
) -> None:
    answer = await http.request(method, path, headers=camera)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await http.request(method, path)).status_code == 401


async def test_an_operator_reads_and_cancels_everybodys_predictions(
    http: httpx.AsyncClient, filled: World, operator: Headers, camera: Headers
) -> None:
    read = (await http.get("/v1/predictions/a", headers=operator)).json()
    assert (read["id"], read["key_name"]) == ("a", "door")
    answer = await http.get(f"/v1/batches/{BATCH}", headers=operator)
    assert answer.status_code == 200
    own = (await http.get("/v1/predictions/c", headers=camera)).json()
    assert "key_name" not in own, "a caller knows its own name"
    canceled = await http.post("/v1/predictions/a/cancel", headers=operator)
    assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")


async def test_an_operator_lists_all_keys_or_one(
    http: httpx.AsyncClient, filled: World, operator: Headers, camera: Headers
) -> None:
    async def listed(query: str, headers: Headers) -> list[str]:
        answer = await http.get(f"/v1/predictions{query}", headers=headers)
        return [result["id"] for result in answer.json()["results"]]

    assert await listed("", operator) == []
    assert await listed("?key=door", operator) == ["a"], "`door` has no key any more"
    assert await listed("?key=*", operator) == ["c"]
    filled.ledger.create("g", Submission(model="codes", key="gate"))
    assert await listed("?key=*", operator) == ["g", "c"]
    assert await listed("?key=camera", camera) == ["c"], "a caller may name itself"
    page = (await http.get("/v1/predictions?key=door&limit=1", headers=operator)).json()
    assert page["results"][0]["key_name"] == "door"


async def test_a_dead_letter_is_listed_with_its_reason_and_requeued(
    http: httpx.AsyncClient, world: World, operator: Headers
) -> None:
    world.ledger.create("a", Submission(model="codes", key="door", metadata={"n": 1}))
    world.blobs.put(input_key("a", ""), b"the image", 60)
    let_die(world.ledger, "a")
    (letter,) = (await http.get("/v1/dead-letters", headers=operator)).json()["results"]
    assert (letter["id"], letter["error_code"], letter["key_name"]) == ("a", "worker_lost", "door")
    assert "its worker fell silent" in letter["logs"]
    answer = await http.post("/v1/dead-letters/a/requeue", headers=operator)
    assert answer.status_code == 202
    requeued = answer.json()
    assert (requeued["status"], requeued["key_name"]) == ("starting", "door")
    assert requeued["metadata"] == {"n": 1}
    assert world.blobs.get(input_key(requeued["id"], "")) == b"the image"
    assert world.ledger.get("a").status.terminal, "the dead letter stays as it is"


async def test_only_a_dead_letter_with_its_image_can_be_requeued(
    http: httpx.AsyncClient, world: World, operator: Headers
) -> None:
    world.ledger.create("a", Submission(model="codes"))
    path = "/v1/dead-letters/{}/requeue"
    assert (await http.post(path.format("a"), headers=operator)).status_code == 409
    assert (await http.post(path.format("b"), headers=operator)).status_code == 404
    let_die(world.ledger, "a")
    assert (await http.post(path.format("a"), headers=operator)).status_code == 410


async def test_dead_letters_come_in_pages(
    http: httpx.AsyncClient, world: World, operator: Headers
) -> None:
    for name in ("a", "b", "c"):
        world.ledger.create(name, Submission(model="codes"))
        let_die(world.ledger, name)
    first = (await http.get("/v1/dead-letters?limit=2", headers=operator)).json()
    assert [result["id"] for result in first["results"]] == ["c", "b"]
    second = (await http.get(first["next"], headers=operator)).json()
    assert [result["id"] for result in second["results"]] == ["a"]
    assert second["next"] is None
    back = (await http.get(second["previous"], headers=operator)).json()
    assert [result["id"] for result in back["results"]] == ["c", "b"]


async def test_failed_deliveries_are_listed_in_pages_and_sent_again(
    http: httpx.AsyncClient, filled: World, operator: Headers
) -> None:
    filled.deliveries.records["d"] = {}
    filled.deliveries.file("d", "completed", URL, key="camera")
    (outgoing,) = filled.deliveries.claim("w", 10).outgoing
    attempt = DeliveryAttempt(at=1, duration_s=0.5, error="timeout")
    filled.deliveries.settle([AttemptOutcome(outgoing, AttemptResult.FAILED, attempt, b"", None)])
    first = (await http.get("/v1/deliveries?limit=1", headers=operator)).json()
    assert [result["id"] for result in first["results"]] == ["d_completed"]
    second = (await http.get(first["next"], headers=operator)).json()
    (failed,) = second["results"]
    assert (failed["id"], failed["key_name"], failed["reason"]) == (
        "a_completed",
        "door",
        "attempts",
    )
    assert second["next"] is None
    assert (await http.get(second["previous"], headers=operator)).json() == first
    answer = await http.post("/v1/deliveries/a_completed/redeliver", headers=operator)
    assert (answer.status_code, answer.json()["status"]) == (202, "waiting")
    left = (await http.get("/v1/deliveries", headers=operator)).json()["results"]
    assert [result["id"] for result in left] == ["d_completed"]


async def test_the_timeline_has_a_minute_for_each_that_was_asked_for(
    http: httpx.AsyncClient, filled: World, operator: Headers
) -> None:
    ends = Ends(failed=1)
    ends.add_success(0.3)
    filled.timeline.record(ends)
    results = (await http.get("/v1/queue/timeline?minutes=3", headers=operator)).json()["results"]
    assert len(results) == 3
    sampled = [minute for minute in results if minute["backlog"] is not None]
    assert [(minute["backlog"], minute["succeeded"], minute["failed"]) for minute in sampled] == [
        (2, 1, 1)
    ]
    assert 0.2 < sampled[0]["latency_p50_s"] <= sampled[0]["latency_p95_s"] <= 0.5
    assert (await http.get("/v1/queue/timeline?minutes=61", headers=operator)).status_code == 422


async def test_a_test_event_is_filed_for_its_caller_and_has_a_log(
    http: httpx.AsyncClient, world: World, camera: Headers, gate: Headers
) -> None:
    filed = await http.post("/v1/webhooks/test", json={"url": URL}, headers=camera)
    assert filed.status_code == 202
    delivery = filed.json()
    assert (delivery["type"], delivery["url"], delivery["status"]) == (
        "webhook.test",
        URL,
        "waiting",
    )
    (outgoing,) = world.deliveries.claim("w", 10).outgoing
    assert outgoing.delivery.key == "camera", "its secret signs the event"
    assert b'"type":"webhook.test"' in (outgoing.body or b"")
    attempt = DeliveryAttempt(at=0, duration_s=0.1, status=204, answer="thanks")
    world.deliveries.settle([AttemptOutcome(outgoing, AttemptResult.DELIVERED, attempt)])
    path = f"/v1/deliveries/{delivery['id']}"
    ended = (await http.get(path, headers=camera)).json()
    assert (ended["status"], [entry["answer"] for entry in ended["log"]]) == (
        "delivered",
        ["thanks"],
    )
    assert (await http.get(path, headers=gate)).status_code == 404


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"url": "http://127.0.0.1/hook"}, "address_not_allowed"),
        ({"url": "ftp://a.example"}, "invalid_input"),
        ({"url": ""}, "invalid_input"),
        ({}, "invalid_input"),
        ({"url": URL, "secret": "x"}, "invalid_input"),
    ],
)
async def test_a_test_event_to_a_bad_url_is_refused(
    http: httpx.AsyncClient, camera: Headers, body: dict[str, str], code: str
) -> None:
    answer = await http.post("/v1/webhooks/test", json=body, headers=camera)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


async def test_a_test_event_counts_against_the_rate(http: httpx.AsyncClient, gate: Headers) -> None:
    statuses = [
        (await http.post("/v1/webhooks/test", json={"url": URL}, headers=gate)).status_code
        for _ in range(2)
    ]
    assert statuses == [202, 429]
