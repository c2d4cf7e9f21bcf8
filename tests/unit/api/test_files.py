"""Uploading files, and submitting them by their URLs."""

import hashlib
import json

import httpx
import pytest

from sluice.blobs.store import input_key
from sluice.prediction import Submission
from sluice.settings import BlobsSettings
from tests.unit.api.conftest import World
from tests.unit.api.test_predictions import JPEG, RAW

pytestmark = pytest.mark.anyio


async def test_a_file_is_uploaded_listed_and_deleted(http: httpx.AsyncClient) -> None:
    answer = await http.post(
        "/v1/files",
        files={"content": ("a.jpg", JPEG, "image/jpeg")},
        data={"metadata": '{"of": 1}'},
    )
    assert answer.status_code == 201
    file = answer.json()
    url = f"http://test/v1/files/{file['id']}"
    assert answer.headers["location"] == file["urls"]["get"] == url
    assert (file["name"], file["content_type"], file["size"]) == ("a.jpg", "image/jpeg", len(JPEG))
    assert file["checksums"] == {"sha256": hashlib.sha256(JPEG).hexdigest()}
    assert file["metadata"] == {"of": 1}
    assert file["created_at"] < file["expires_at"]
    assert (await http.get(url)).json() == file
    assert (await http.get("/v1/files")).json() == {
        "previous": None,
        "next": None,
        "results": [file],
    }
    deleted = await http.delete(url)
    assert (deleted.status_code, deleted.content) == (204, b"")
    for again in (await http.get(url), await http.delete(url)):
        assert (again.status_code, again.json()["code"]) == (404, "not_found")


async def test_the_forms_of_replicates_clients_are_accepted(http: httpx.AsyncClient) -> None:
    """Replicate's JavaScript client sends fields, and the metadata as a file."""
    metadata = ("blob", json.dumps({"a": ["b"]}).encode(), "application/json")
    fields = {"filename": "b.png", "type": "image/png"}
    file = (
        await http.post(
            "/v1/files", files={"content": ("a", JPEG), "metadata": metadata}, data=fields
        )
    ).json()
    assert (file["name"], file["content_type"], file["metadata"]) == (
        "b.png",
        "image/png",
        {"a": ["b"]},
    )


@pytest.mark.parametrize(
    ("form", "status", "word"),
    [
        ({"files": {"image": JPEG}}, 422, "content"),
        ({"data": {"content": "text"}, "files": {"x": b""}}, 422, "content"),
        ({"files": {"content": JPEG}, "data": {"metadata": "[1]"}}, 422, "metadata"),
        ({"files": {"content": JPEG}, "data": {"metadata": '{"a": NaN}'}}, 422, "metadata"),
        (
            {"files": {"content": JPEG}, "data": {"metadata": '{"a": "' + 5000 * "b" + '"}'}},
            422,
            "4,096 bytes",
        ),
        ({"files": {"content": JPEG}, "data": {"name": "a"}}, 422, "name"),
        ({"files": {"content": (300 * "a", JPEG)}}, 422, "filename"),
        ({"files": {"content": bytes(50_001)}}, 413, "50,000 bytes"),
        ({"content": JPEG, "headers": RAW}, 415, "multipart/form-data"),
    ],
    ids=[
        "no-file",
        "text",
        "metadata",
        "nan",
        "much-metadata",
        "another-field",
        "long-name",
        "too-large",
        "not-a-form",
    ],
)
async def test_a_wrong_form_is_refused(
    http: httpx.AsyncClient, world: World, form: dict, status: int, word: str
) -> None:
    answer = await http.post("/v1/files", **form)
    assert answer.status_code == status
    assert word in answer.json()["detail"]
    assert world.files.list("default") == []


async def test_a_file_is_submitted_by_its_url(http: httpx.AsyncClient, world: World) -> None:
    url = (await http.post("/v1/files", files={"content": JPEG})).json()["urls"]["get"]
    submitted = await http.post("/v1/predictions", json={"input": {"image": url}})
    assert submitted.status_code == 202
    recorded = world.ledger.get(submitted.json()["id"])
    assert recorded.image_url is None, "no worker has to fetch it"
    assert world.blobs.get(input_key(recorded.id, recorded.digest)) == JPEG
    same = await http.put("/v1/predictions/a", json={"input": {"image": url}})
    assert (await http.put("/v1/predictions/a", content=JPEG, headers=RAW)).json() == same.json(), (
        "the form does not matter"
    )


@pytest.mark.parametrize(
    "base",
    [
        "http://test:80",
        "https://test",
        "http://127.0.0.1:8080",
        "http://sluice-api.sluice.svc:8080",
        "HTTPS://api.example.com/sluice",
    ],
)
async def test_a_file_goes_by_every_name_of_the_service(
    http: httpx.AsyncClient, world: World, base: str
) -> None:
    file_id = (await http.post("/v1/files", files={"content": JPEG})).json()["id"]
    url = f"{base}/v1/files/{file_id}"
    submitted = await http.post("/v1/predictions", json={"input": {"image": f"{url}/?a=b#c"}})
    assert submitted.status_code == 202, submitted.text
    assert world.ledger.get(submitted.json()["id"]).image_url is None
    batch = await http.post("/v1/batches", json={"images": [url]})
    assert batch.json()["errors"] == []
    await http.delete(f"/v1/files/{file_id}")
    gone = await http.post("/v1/predictions", json={"input": {"image": url}})
    assert (gone.status_code, "upload it again" in gone.json()["detail"]) == (422, True)


@pytest.mark.parametrize(
    "url", ["https://api.example.com/v1/files/cat.jpg", "https://example.com/" + "a" * 26]
)
async def test_the_url_of_another_services_file_is_left_to_a_worker(
    http: httpx.AsyncClient, world: World, url: str
) -> None:
    submitted = await http.post("/v1/predictions", json={"input": {"image": url}})
    assert world.ledger.get(submitted.json()["id"]).image_url == url


async def test_a_submission_of_a_missing_file_or_of_no_image_is_refused(
    http: httpx.AsyncClient, world: World
) -> None:
    text = (await http.post("/v1/files", files={"content": b"text"})).json()["urls"]["get"]
    assert (await http.post("/v1/predictions", json={"input": {"image": text}})).json()[
        "code"
    ] == "not_an_image"
    others = world.files.add(JPEG, "other", name="a", content_type="b", metadata={})
    for url in (f"http://test/v1/files/{others.id}", "http://test/v1/files/../predictions"):
        answer = await http.post("/v1/predictions", json={"input": {"image": url}})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
        assert "upload it again" in answer.json()["detail"]
    assert world.ledger.backlog() == 0


async def test_the_number_of_files_is_bounded(http: httpx.AsyncClient, world: World) -> None:
    world.files.settings = BlobsSettings(files_per_key=1)
    assert (await http.post("/v1/files", files={"content": JPEG})).status_code == 201
    full = await http.post("/v1/files", files={"content": JPEG})
    assert (full.status_code, full.json()["code"]) == (429, "too_many_files")
    assert int(full.headers["retry-after"]) > 1000


async def test_a_full_queue_refuses_files_too(http: httpx.AsyncClient, world: World) -> None:
    for number in range(world.settings.max_backlog):
        world.ledger.create(f"p{number}", Submission(model="codes"))
    answer = await http.post("/v1/files", files={"content": JPEG})
    assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")
