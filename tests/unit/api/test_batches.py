"""Batches over the in-memory systems: their three forms, their images, pages and canceling."""

import asyncio
import base64
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluice.blobs.store import input_key
from sluice.errors import BlobsUnavailable, NotFound
from sluice.prediction import Parameters, Priority, Status
from sluice.settings import LimitsSettings, QueueSettings
from tests.fakes.blobs import MemoryBlobs
from tests.unit.api import conftest
from tests.unit.api.test_predictions import JPEG

pytestmark = pytest.mark.anyio

ZIP = {"Content-Type": "application/zip"}
URI = "data:image/jpeg;base64," + base64.b64encode(JPEG).decode()


class Blobs(MemoryBlobs):
    """Calls a test's function before it stores a blob."""

    before_put: Callable[[str], object] = staticmethod(lambda key: None)

    def put(self, key: str, data: bytes, ttl_s: int) -> None:
        self.before_put(key)
        super().put(key, data, ttl_s)


@dataclass
class World(conftest.World):
    settings: QueueSettings = field(default_factory=lambda: QueueSettings(max_backlog=50))
    blobs: Blobs = field(default_factory=Blobs)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def limits(upload_s: tuple[float, float]) -> LimitsSettings:
    return LimitsSettings(
        max_bytes=50_000,
        upload_idle_s=upload_s[0],
        upload_s=upload_s[1],
        batch_items=20,
        batch_max_bytes=400_000,
        batches_at_once=1,
    )


def _zip(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


def _errors(answer: httpx.Response) -> list[tuple[int, str | None, str]]:
    return [(error["index"], error["name"], error["code"]) for error in answer.json()["errors"]]


def _part(
    name: str, data: bytes | str, filename: str | None = None
) -> tuple[str, tuple[str | None, bytes | str]]:
    return name, (filename, data)


def _finish(world: World, count: int) -> None:
    for number in range(count):
        claim = world.ledger.claim(f"w{number}", 10)
        assert claim is not None
        world.ledger.succeed(claim, {"predictions": []}, {})


async def test_a_form_of_files_becomes_a_batch(http: httpx.AsyncClient, world: World) -> None:
    files = [
        _part("image", JPEG, "a.jpg"),
        _part("images", b"text", "b/../é.txt"),
        _part("image", JPEG[:-40], "c.jpg"),
        _part("image", "https://example.com/d.jpg"),
        _part("image", "ftp://example.com/e.jpg"),
        _part("image", "http://127.0.0.1/f.jpg"),
        _part("image", JPEG + bytes(50_000), "g.jpg"),
        _part("image", URI),
        _part("image", b"", "i.jpg"),
    ]
    options = {
        "confidence": "0.5",
        "classes": ["a", "2"],
        "priority": "low",
        "metadata": '{"run": 7}',
    }
    answer = await http.post("/v1/batches", files=files, data=options)
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert (
        answer.headers["location"] == body["urls"]["get"] == f"http://test/v1/batches/{body['id']}"
    )
    assert int(answer.headers["retry-after"]) >= 1
    assert _errors(answer) == [
        (1, "b/../é.txt", "not_an_image"),
        (2, "c.jpg", "truncated_image"),
        (4, "ftp://example.com/e.jpg", "invalid_input"),
        (5, "http://127.0.0.1/f.jpg", "address_not_allowed"),
        (6, "g.jpg", "image_too_large"),
        (8, "i.jpg", "not_an_image"),
    ]
    assert (body["status"], body["total"], body["missing"], body["metadata"]) == (
        "starting",
        9,
        0,
        {"run": 7},
    )
    assert body["counts"] == {
        "starting": 3,
        "processing": 0,
        "succeeded": 0,
        "failed": 0,
        "canceled": 0,
        "aborted": 0,
    }
    first, url, uri = (world.ledger.get(f"{body['id']}-{index}") for index in (0, 3, 7))
    assert first.parameters == Parameters(confidence=0.5, classes=("a", "2"))
    assert first.priority is Priority.LOW
    assert first.metadata == {"batch": body["id"], "index": 0, "name": "a.jpg"}
    assert (url.image_url, uri.image_url) == ("https://example.com/d.jpg", None)
    assert url.metadata["name"] == "https://example.com/d.jpg"
    for prediction in (first, uri):
        assert world.blobs.get(input_key(prediction.id, prediction.digest)) == JPEG
    assert len(world.blobs._blobs) == 2
    assert world.doorbell.rings == world.ledger.backlog() == 3
    assert (await http.get("/v1/predictions")).json()["results"] == []


async def test_json_becomes_a_batch(http: httpx.AsyncClient, world: World) -> None:
    options = {
        "model": "codes",
        "input": {"confidence": 0.5, "visualize": True},
        "images": [URI, "https://example.com/a.jpg", "", "x"],
    }
    answer = await http.post("/v1/batches", json=options)
    assert answer.status_code == 202, answer.text
    assert _errors(answer) == [(2, "", "invalid_input"), (3, "x", "invalid_input")]
    batch_id = answer.json()["id"]
    assert world.ledger.get(f"{batch_id}-0").parameters == Parameters(
        confidence=0.5, visualize=True
    )
    assert world.ledger.get(f"{batch_id}-1").image_url == "https://example.com/a.jpg"


async def test_hidden_entries_of_a_zip_are_skipped(http: httpx.AsyncClient, world: World) -> None:
    entries = {
        "desk/": b"",
        "desk/1.jpg": JPEG,
        "__MACOSX/desk/._1.jpg": b"x",
        "desk/.DS_Store": b"x",
        ".git/2.jpg": JPEG,
        "../3.jpg": JPEG,
        "/etc/4.jpg": JPEG,
        "notes.txt": b"text",
    }
    answer = await http.post(
        "/v1/batches?confidence=0.5&classes=a&classes=2", content=_zip(entries), headers=ZIP
    )
    assert answer.status_code == 202, answer.text
    assert _errors(answer) == [(3, "notes.txt", "not_an_image")]
    recorded = world.batches.predictions(world.batches.get(answer.json()["id"]), 0, 9)
    assert [prediction.metadata["name"] for prediction in recorded] == [
        "desk/1.jpg",
        "../3.jpg",
        "/etc/4.jpg",
    ]
    assert recorded[0].parameters == Parameters(confidence=0.5, classes=("a", "2"))


async def test_bombs_and_damage_in_a_zip_are_errors_of_their_entries(
    http: httpx.AsyncClient,
) -> None:
    jpegs = {f"{number}.jpg": JPEG + bytes(45_000) for number in range(12)}
    body = _zip({"bomb.jpg": bytes(10_000_000), **jpegs})
    answer = await http.post("/v1/batches", content=body, headers=ZIP)
    codes = [error["code"] for error in answer.json()["errors"]]
    assert codes == ["image_too_large"] * (13 - 400_000 // (45_000 + len(JPEG)))

    good, lying, broken, locked, other = (
        {name: JPEG} for name in ("good", "lying", "broken", "locked", "other")
    )
    whole = bytearray(_zip({**good, **lying, **broken, **locked}, zipfile.ZIP_STORED))
    starts = [whole.index(b"PK\1\2")]
    while (at := whole.find(b"PK\1\2", starts[-1] + 1)) > 0:
        starts.append(at)
    struct.pack_into("<I", whole, starts[1] + 24, len(JPEG) - 9)  # says that it unpacks to less
    whole[whole.index(b"broken") + 100] ^= 0xFF
    struct.pack_into("<H", whole, starts[3] + 8, 1)  # says that it is encrypted
    answer = await http.post("/v1/batches", content=bytes(whole), headers=ZIP)
    assert _errors(answer) == [
        (1, "lying", "invalid_input"),
        (2, "broken", "invalid_input"),
        (3, "locked", "invalid_input"),
    ]
    assert "encrypted" in answer.json()["errors"][2]["detail"]
    answer = await http.post("/v1/batches", content=_zip(other, zipfile.ZIP_LZMA), headers=ZIP)
    assert "Deflate" in answer.json()["errors"][0]["detail"]


async def test_an_entry_is_not_inflated_beyond_its_declared_size(http: httpx.AsyncClient) -> None:
    """The directory declares a hundred bytes, and the entry inflates to a megabyte."""
    body = bytearray(_zip({"a.jpg": bytes(1_000_000)}))
    directory = body.index(b"PK\1\2")
    struct.pack_into("<I", body, directory + 24, 100)
    struct.pack_into("<I", body, directory + 16, zlib.crc32(bytes(100)))
    struct.pack_into("<I", body, 22, 100)
    answer = await http.post("/v1/batches", content=bytes(body), headers=ZIP)
    assert _errors(answer) == [(0, "a.jpg", "not_an_image")]
    assert "100 bytes" in answer.json()["errors"][0]["detail"]


def _large_directory() -> bytes:
    """A ZIP with too many entries of a few bytes each."""
    return _zip({f"{number:06}/": b"" for number in range(2000)})


BOUNDARY = {"Content-Type": "multipart/form-data; boundary=b"}
HEAD = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'


@pytest.mark.parametrize(
    ("body", "headers", "status", "word"),
    [
        pytest.param(b"", {"Content-Type": "text/plain"}, 415, "application/zip", id="kind"),
        pytest.param(b"", {}, 415, "(none)", id="no kind"),
        pytest.param(b"PK", ZIP, 422, "ZIP", id="no zip"),
        pytest.param(_zip({"d/": b""}), ZIP, 422, "no image", id="empty zip"),
        pytest.param(
            _zip({f"{n}.jpg": b"" for n in range(21)}),
            ZIP,
            422,
            "more than 20 images",
            id="zip of many",
        ),
        pytest.param(_large_directory(), ZIP, 422, "directory", id="large directory"),
        pytest.param(b"{", {"Content-Type": "application/json"}, 422, "JSON", id="no json"),
        pytest.param(
            b'{"images": []}', {"Content-Type": "application/json"}, 422, "images", id="empty json"
        ),
        pytest.param(
            b'{"images": [7]}',
            {"Content-Type": "application/json"},
            422,
            "images.0",
            id="json of numbers",
        ),
        pytest.param(
            b'{"images": ["x"], "colour": 1}',
            {"Content-Type": "application/json"},
            422,
            "colour",
            id="unknown option",
        ),
        pytest.param(
            b'{"images": [' + b",".join([b'""'] * 21) + b"]}",
            {"Content-Type": "application/json"},
            422,
            "20 images",
            id="json of many",
        ),
        pytest.param(
            b'{"images": [' + b"7," * 68_000 + b"7]}",
            {"Content-Type": "application/json"},
            413,
            "100,000 bytes",
            id="long json",
        ),
        pytest.param(HEAD + JPEG, BOUNDARY, 422, "last boundary", id="cut form"),
        pytest.param(b"--c\r\n", BOUNDARY, 422, "multipart", id="other boundary"),
        pytest.param(
            HEAD, {"Content-Type": "multipart/form-data"}, 422, "boundary", id="no boundary"
        ),
        pytest.param(b"--b--\r\n", BOUNDARY, 422, "no image", id="empty form"),
        pytest.param(
            (HEAD + b"\r\n") * 21 + b"--b--\r\n",
            BOUNDARY,
            422,
            "more than 20 images",
            id="form of many",
        ),
        pytest.param(
            HEAD.replace(b"image", b"file") + b"\r\n--b--",
            BOUNDARY,
            422,
            "'file'",
            id="other field",
        ),
        pytest.param(
            HEAD.replace(b"filename", b"x") + b"ftp://x\r\n--b--",
            BOUNDARY,
            202,
            "input.image",
            id="text",
        ),
        pytest.param(
            HEAD.replace(b'"image"; filename="a.jpg"', b'"metadata"')
            + bytes(70_000)
            + b"\r\n--b--",
            BOUNDARY,
            422,
            "65,536",
            id="field",
        ),
        pytest.param(
            HEAD + bytes(400_000) + b"\r\n--b--",
            BOUNDARY,
            413,
            "the batch is larger than 400,000",
            id="large",
        ),
    ],
)
async def test_a_wrong_body_refuses_the_whole_batch(
    http: httpx.AsyncClient,
    world: World,
    body: bytes,
    headers: dict[str, str],
    status: int,
    word: str,
) -> None:
    answer = await http.post("/v1/batches", content=body, headers=headers)
    assert (answer.status_code, word in answer.text) == (status, True), answer.text
    assert world.ledger.backlog() == len(world.blobs._blobs) == 0
    assert len(world.batches.ids()) == (status == 202)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"model": "other"}, "unknown_model"),
        ({"webhook": "http://127.0.0.1/"}, "address_not_allowed"),
        ({"input": {"classes": ["cat"]}}, "invalid_input"),
        ({"input": {"confidence": 7}}, "invalid_input"),
    ],
)
async def test_an_error_of_the_options_refuses_the_whole_batch(
    http: httpx.AsyncClient, world: World, options: dict[str, Any], word: str
) -> None:
    answer = await http.post("/v1/batches", json={"images": [URI], **options})
    assert (answer.status_code, answer.json()["code"]) == (422, word)
    assert not world.batches.ids()


async def test_only_the_batch_has_a_webhook(http: httpx.AsyncClient, world: World) -> None:
    options = {
        "images": [URI],
        "webhook": "https://example.com/hook",
        "webhook_events_filter": ["completed"],
    }
    batch_id = (await http.post("/v1/batches", json=options)).json()["id"]
    batch = world.batches.get(batch_id)
    assert (batch.webhook, batch.webhook_events, batch.base_url) == (
        "https://example.com/hook",
        ("completed",),
        "http://test",
    )
    assert world.ledger.get(f"{batch_id}-0").webhook is None


async def test_images_after_a_full_queue_are_refused(http: httpx.AsyncClient, world: World) -> None:
    for number in range(47):
        await http.put(
            f"/v1/predictions/p{number}", content=JPEG, headers={"Content-Type": "image/jpeg"}
        )
    key = {"Idempotency-Key": "k"}
    answer = await http.post("/v1/batches", json={"images": [URI] * 6}, headers=key)
    assert answer.status_code == 202
    assert _errors(answer) == [(index, None, "queue_full") for index in (3, 4, 5)]
    assert answer.json()["counts"]["starting"] == 3
    for headers in (key | {"Idempotency-Key": "other"}, {}):
        refused = await http.post("/v1/batches", json={"images": [URI] * 6}, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")
        assert int(refused.headers["retry-after"]) >= 1
    _finish(world, 45)
    again = await http.post("/v1/batches", json={"images": [URI] * 6}, headers=key)
    assert (again.json()["id"], again.json()["errors"]) == (answer.json()["id"], [])
    assert again.json()["counts"] == {**answer.json()["counts"], "starting": 6}


async def test_images_after_a_failed_store_are_refused(
    http: httpx.AsyncClient, world: World
) -> None:
    tried: set[str] = set()

    def away(key: str) -> None:
        tried.add(key)
        if key not in world.blobs._blobs and len(world.blobs._blobs) == 2:
            raise BlobsUnavailable("away")

    world.blobs.before_put = away
    answer = await http.post("/v1/batches", json={"images": [URI] * 5})
    assert _errors(answer) == [(index, None, "blobs_unavailable") for index in (2, 3, 4)]
    assert len(tried) == 3, "what would fail too is not tried"
    nothing = await http.post("/v1/batches", json={"images": [URI] * 5})
    assert (nothing.status_code, nothing.json()["code"]) == (503, "blobs_unavailable")


async def test_a_repeated_batch_changes_nothing(http: httpx.AsyncClient, world: World) -> None:
    key = {"Idempotency-Key": "order-17"}
    files = [_part("image", JPEG, "a.jpg"), _part("image", b"text", "b.txt")]
    first = await http.post("/v1/batches", files=files, headers=key)
    again = await http.post("/v1/batches", files=files, headers=key)
    assert (again.status_code, again.json()) == (202, first.json())
    assert world.ledger.backlog() == world.doorbell.rings == len(world.blobs._blobs) == 1
    for other in (
        {"files": files[:1]},
        {"files": files, "data": {"confidence": "0.9"}},
        {"files": files[::-1]},
    ):
        refused = await http.post("/v1/batches", headers=key, **other)  # type: ignore[arg-type]
        assert (refused.status_code, refused.json()["code"]) == (422, "id_reused")
    single = await http.post(
        "/v1/predictions", content=JPEG, headers={"Content-Type": "image/jpeg", **key}
    )
    assert single.status_code == 202, "a prediction's key is another one"
    _finish(world, 2)
    ended = await http.post("/v1/batches", files=files, headers=key)
    assert (ended.status_code, ended.json()["status"]) == (202, "succeeded")
    assert "retry-after" not in ended.headers


async def test_a_batch_of_bad_images_ends_at_once(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/batches", json={"images": ["x", "y"]})
    assert (answer.status_code, answer.json()["status"], len(answer.json()["errors"])) == (
        202,
        "succeeded",
        2,
    )
    assert answer.json()["completed_at"]


async def test_a_batch_is_followed_to_its_end(http: httpx.AsyncClient, world: World) -> None:
    batch_id = (await http.post("/v1/batches", json={"images": [URI] * 3})).json()["id"]
    _finish(world, 2)
    now = await http.get(f"/v1/batches/{batch_id}?wait=0.01")
    assert (now.status_code, now.json()["status"]) == (200, "processing")
    assert int(now.headers["retry-after"]) >= 1
    waiting = asyncio.create_task(http.get(f"/v1/batches/{batch_id}?wait=60"))
    while not world.events.waiting:
        await asyncio.sleep(0.01)
    _finish(world, 1)
    world.events.waiting[0].set()
    ended = await asyncio.wait_for(waiting, 30)
    assert ended.json()["counts"]["succeeded"] == 3
    assert ended.json()["status"] == "succeeded"
    assert "retry-after" not in ended.headers


async def test_the_predictions_of_a_batch_come_in_pages(http: httpx.AsyncClient) -> None:
    images = [URI if number % 3 else "bad" for number in range(10)]
    urls = (await http.post("/v1/batches", json={"images": images})).json()["urls"]
    page = (await http.get(urls["predictions"], params={"limit": 4})).json()
    assert page["previous"] is None
    pages, back = [page], []
    while page["next"]:
        page = (await http.get(page["next"])).json()
        pages.append(page)
    while page["previous"]:
        page = (await http.get(page["previous"])).json()
        back.append(page)
    indexes = [
        [prediction["metadata"]["index"] for prediction in page["results"]] for page in pages
    ]
    assert indexes == [[1, 2], [4, 5, 7], [8]]
    assert back == pages[-2::-1]
    assert pages[0]["results"][0]["urls"]["get"].endswith("-1")


async def test_a_cancel_ends_only_what_has_not_ended(http: httpx.AsyncClient, world: World) -> None:
    urls = (await http.post("/v1/batches", json={"images": [URI] * 4})).json()["urls"]
    _finish(world, 1)
    assert world.ledger.claim("w", 10) is not None
    canceled = await http.post(urls["cancel"])
    assert canceled.status_code == 200
    assert canceled.json()["status"] == "canceled"
    assert canceled.json()["counts"] == {
        **dict.fromkeys(map(str, Status), 0),
        "succeeded": 1,
        "canceled": 3,
    }
    assert world.ledger.claim("w2", 10) is None
    assert len(world.blobs._blobs) == 1, (
        "the canceled predictions' images are deleted; a worker deletes the succeeded one's"
    )
    again = await http.post(urls["cancel"])
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


async def test_a_batch_can_be_canceled_while_its_images_are_accepted(
    http: httpx.AsyncClient, world: World
) -> None:
    def cancel(key: str) -> None:
        if key not in world.blobs._blobs and len(world.blobs._blobs) == 2:
            world.batches.cancel(key.partition("-")[0])

    world.blobs.before_put = cancel
    answer = await http.post("/v1/batches", json={"images": [URI] * 5})
    assert (answer.status_code, answer.json()["status"]) == (202, "canceled")
    assert _errors(answer) == [(index, None, "conflict") for index in (2, 3, 4)]
    assert answer.json()["counts"]["canceled"] == 2


async def test_the_number_of_batches_at_once_is_bounded(http: httpx.AsyncClient) -> None:
    started, may_end = asyncio.Event(), asyncio.Event()

    async def slow():
        yield json.dumps({"images": [URI]}).encode()
        started.set()
        await may_end.wait()

    first = asyncio.create_task(
        http.post("/v1/batches", content=slow(), headers={"Content-Type": "application/json"})
    )
    await started.wait()
    refused = await http.post("/v1/batches", json={"images": [URI]})
    assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")
    may_end.set()
    assert (await first).status_code == 202
    assert (await http.post("/v1/batches", json={"images": [URI]})).status_code == 202


async def test_unknown_batches_get_404(http: httpx.AsyncClient, world: World) -> None:
    for path in ("a" * 26, "a" * 26 + "/predictions"):
        assert (await http.get(f"/v1/batches/{path}")).status_code == 404
    assert (await http.post(f"/v1/batches/{'a' * 26}/cancel")).status_code == 404
    assert (await http.get("/v1/batches/x")).status_code == 422


@pytest.mark.parametrize("upload_s", [(0.5, 1)])
async def test_a_form_that_drips_is_cut_off(http: httpx.AsyncClient, world: World) -> None:
    """Most of the time goes into writing the bytes, which no timeout may interrupt."""

    async def drip():
        yield HEAD
        while True:
            yield b"x"

    answer = await asyncio.wait_for(http.post("/v1/batches", content=drip(), headers=BOUNDARY), 30)
    assert (answer.status_code, answer.json()["code"]) == (408, "upload_too_slow")
    assert not world.batches.ids()


async def test_a_full_temporary_directory_gets_503(
    http: httpx.AsyncClient, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    answer = await http.post("/v1/batches", json={"images": [URI]})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert not world.batches.ids()


async def test_a_stopping_process_accepts_no_more_images(
    http: httpx.AsyncClient, world: World
) -> None:
    world.events.closing = True
    answer = await http.post("/v1/batches", json={"images": [URI] * 2})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    (batch_id,) = world.batches.ids()
    world.batches.make_idle(batch_id)
    world.ledger.sweep()
    with pytest.raises(NotFound):
        world.batches.get(batch_id)
