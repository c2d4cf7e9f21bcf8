"""Bodies as clients really send them, over the in-memory systems."""

import base64
import codecs
import gzip
import json
import zlib
from io import BytesIO
from urllib.parse import quote, urlencode
from zipfile import ZipFile

import httpx
import pytest

from api.requests.schemas import Options
from sluice.blobs.store import input_key
from sluice.prediction import Parameters
from tests.unit.api.conftest import World
from tests.unit.api.requests.test_multipart import TYPE, disposition, form
from tests.unit.api.test_predictions import JPEG, RAW

pytestmark = pytest.mark.anyio

URI = "data:image/jpeg;base64," + base64.b64encode(JPEG).decode()
URL = "https://images.example.com/a+b.jpg"
BODY = json.dumps({"input": {"image": URI, "confidence": 0.5}}).encode()
NO_FILE = 'name="%s"; filename=""\nContent-Type: application/octet-stream'
FORM = {"Content-Type": TYPE}


def browser_form(files: dict[str, bytes], fields: dict[str, str]) -> bytes:
    """A browser's form: `files` by the rest of their Content-Disposition, and fields of text."""
    by_head = {**files, **{f'name="{name}"': text.encode() for name, text in fields.items()}}
    return form(*[(disposition(head), data) for head, data in by_head.items()])


def stored(world: World, answer: httpx.Response) -> bytes | None:
    """The image of an accepted submission."""
    assert answer.status_code == 202, answer.text
    recorded = world.ledger.get(answer.json()["id"])
    return world.blobs.get(input_key(recorded.id, recorded.digest))


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "application/x-www-form-urlencoded",
        "text/plain",
        "application/binary",
        "binary/octet-stream",
        "application/unknown",
        "*/*",
    ],
)
async def test_the_bytes_of_a_body_say_what_it_is(
    http: httpx.AsyncClient, world: World, kind: str | None
) -> None:
    headers = {"Content-Type": kind} if kind else {}
    image = await http.post("/v1/predictions?confidence=0.5", content=JPEG, headers=headers)
    assert stored(world, image) == JPEG
    in_json = await http.post("/v1/predictions", content=b" \n" + BODY, headers=headers)
    assert stored(world, in_json) == JPEG
    for answer in (image, in_json):
        assert answer.json()["input"]["confidence"] == 0.5
    neither = await http.post("/v1/predictions", content=b"\0text", headers=headers)
    assert neither.status_code in (415, 422)
    empty = await http.post("/v1/predictions", content=b"", headers=headers)
    assert empty.status_code == 415


@pytest.mark.parametrize("kind", ["text/json", "application/vnd.api+json; charset=utf-8"])
async def test_json_goes_by_several_types(http: httpx.AsyncClient, world: World, kind: str) -> None:
    answer = await http.post("/v1/predictions", content=BODY, headers={"Content-Type": kind})
    assert stored(world, answer) == JPEG


async def test_json_may_begin_with_a_byte_order_mark(http: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    batch = json.dumps({"images": [URI]}).encode()
    for path, body in (("/v1/predictions", BODY), ("/v1/batches", batch)):
        marked = await http.post(path, content=codecs.BOM_UTF8 + body, headers=headers)
        assert marked.status_code == 202, marked.text
        for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
            wide = body.decode().encode(encoding)
            for given in (headers, {"Content-Type": "text/json"}):
                answer = await http.post(path, content=wide, headers=given)
                assert (answer.status_code, "UTF-16" in answer.json()["detail"]) == (422, True)


async def test_a_form_of_curl_without_files_is_read(http: httpx.AsyncClient, world: World) -> None:
    """`curl -d image=…`, which escapes nothing, and the form of a browser, which escapes all."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    fields = {"confidence": "0.5", "classes": ["a", "b"], "metadata": '{"a b": 1}', "iou": ""}
    for image in (URI, quote(URI, safe="")):
        body = urlencode(fields, doseq=True) + "&image=" + image
        answer = await http.post("/v1/predictions", content=body, headers=headers)
        assert stored(world, answer) == JPEG
        recorded = world.ledger.get(answer.json()["id"])
        assert recorded.parameters == Parameters(confidence=0.5, classes=("a", "b"))
        assert recorded.metadata == {"a b": 1}
    answer = await http.post("/v1/predictions", data={"image": URL, "wrong": "1"})
    assert (answer.status_code, "wrong" in answer.json()["detail"]) == (422, True)
    assert (await http.post("/v1/predictions", data={"image": URL})).json()["input"]["image"] == URL
    assert (await http.post("/v1/predictions", data={"x": "1"})).status_code == 422


@pytest.mark.parametrize(
    "image",
    [
        (None, JPEG),
        (None, JPEG, "image/jpeg"),
        (None, JPEG, "application/octet-stream"),
        (None, JPEG, "text/plain"),
        (None, URI),
        (None, URI, "text/plain"),
        (None, "\n" + URI + "\n"),
        ("a.jpg", JPEG),
        ("a.jpg", JPEG, "text/plain"),
    ],
)
async def test_an_image_in_a_form_needs_no_file_name(
    http: httpx.AsyncClient, world: World, image: tuple[str | None, bytes | str, str]
) -> None:
    answer = await http.post("/v1/predictions", files={"image": image})  # type: ignore[dict-item]
    assert stored(world, answer) == JPEG
    batch = await http.post("/v1/batches", files={"images": image})  # type: ignore[dict-item]
    assert (batch.status_code, batch.json()["counts"]["starting"]) == (202, 1), batch.text


async def test_a_file_needs_no_name_but_bytes(http: httpx.AsyncClient) -> None:
    for content in ((None, JPEG), (None, JPEG, "image/jpeg"), (None, b"x", "application/x")):
        answer = await http.post("/v1/files", files={"content": content})  # type: ignore[dict-item]
        assert answer.status_code == 201, answer.text
        assert answer.json()["name"] == "file"
    answer = await http.post("/v1/files", files={"content": (None, "text")})
    assert (answer.status_code, "holds text" in answer.json()["detail"]) == (422, True)


async def test_what_a_browser_leaves_empty_is_not_given(
    http: httpx.AsyncClient, world: World
) -> None:
    fields = dict.fromkeys([*Options.model_fields, *Parameters.model_fields], "")
    chosen = 'name="image"; filename="a.jpg"'
    files = {NO_FILE % "mask": b"", NO_FILE % "image": b"", chosen: JPEG}
    body = browser_form(files, fields)
    answer = await http.post("/v1/predictions", content=body, headers=FORM)
    assert stored(world, answer) == JPEG
    assert world.ledger.get(answer.json()["id"]).parameters == Parameters()
    batch = await http.post("/v1/batches", content=body, headers=FORM)
    assert (batch.status_code, batch.json()["total"]) == (202, 1), batch.text
    query = await http.post("/v1/predictions", params=fields, content=JPEG, headers=RAW)
    assert query.status_code == 202, query.text
    by_url = browser_form({NO_FILE % "image": b"", 'name="image"; x=y': b""}, {"image": URL})
    answer = await http.post("/v1/predictions", content=by_url, headers=FORM)
    assert answer.json()["input"]["image"] == URL
    none = browser_form({NO_FILE % "image": b""}, {})
    answer = await http.post("/v1/predictions", content=none, headers=FORM)
    assert (answer.status_code, "neither a file nor a URL" in answer.text) == (422, True)


@pytest.mark.parametrize(
    ("files", "data", "words"),
    [
        ([("image", ("a", JPEG)), ("image", ("b", JPEG))], {}, "2 images"),
        ([("file", ("a", JPEG))], {}, "a field named 'image'"),
        ([("image", ("a", JPEG)), ("mask", ("b", JPEG))], {}, "mask"),
        ([("image", ("a", JPEG))], {"treshold": ""}, "treshold: there is no such field"),
        ([("image", ("a", JPEG))], {"confidence": "high"}, "confidence"),
    ],
)
async def test_a_form_with_something_wrong_is_told_what(
    http: httpx.AsyncClient, files: object, data: dict[str, str], words: str
) -> None:
    answer = await http.post("/v1/predictions", files=files, data=data)  # type: ignore[arg-type]
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


async def test_an_image_of_the_greatest_size_fits_into_a_form_as_text(
    http: httpx.AsyncClient, world: World
) -> None:
    for extra, status in ((0, 202), (1, 413)):
        image = JPEG + bytes(50_000 - len(JPEG) + extra)
        uri = "data:image/jpeg;base64," + base64.encodebytes(image).decode()
        for files in ({"image": (None, uri)}, {"image": ("a", image)}):
            answer = await http.post("/v1/predictions", files=files)  # type: ignore[arg-type]
            assert answer.status_code == status, answer.text
        batch = await http.post("/v1/batches", files={"image": (None, uri)})
        assert len(batch.json()["errors"]) == extra
    answer = await http.post("/v1/predictions", files={"image": (None, "x" * 200_000)})
    assert answer.status_code == 413


async def test_the_query_and_the_body_give_different_fields(
    http: httpx.AsyncClient, world: World
) -> None:
    params = {"confidence": "0.5", "metadata": '{"a": 1}', "model": "codes"}
    answers = [
        await http.post("/v1/predictions", params=params, json={"input": {"image": URI}}),
        await http.post("/v1/predictions", params=params, files={"image": JPEG}),
        await http.post("/v1/predictions", params=params, data={"image": URI}),
    ]
    for answer in answers:
        assert stored(world, answer) == JPEG
        recorded = world.ledger.get(answer.json()["id"])
        assert recorded.parameters == Parameters(confidence=0.5)
        assert recorded.metadata == {"a": 1}
    in_both = [
        await http.post("/v1/predictions", params=params, content=BODY),
        await http.post(
            "/v1/predictions", params=params, files={"image": JPEG}, data={"model": "codes"}
        ),
        await http.post("/v1/batches", params=params, json={"images": [URI], "metadata": {}}),
    ]
    for answer in in_both:
        assert (answer.status_code, "give it once" in answer.json()["detail"]) == (422, True)
    for body in ({"json": {"input": {"image": URI}}}, {"files": {"image": JPEG}}):
        answer = await http.post("/v1/predictions?colour=red", **body)  # type: ignore[arg-type]
        assert (answer.status_code, "colour" in answer.json()["detail"]) == (422, True)


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_compressed_body_is_read(
    http: httpx.AsyncClient, world: World, coding: str, pack: type[bytes]
) -> None:
    headers = {"Content-Encoding": coding}
    form = httpx.Request("POST", "http://test", files={"image": JPEG})
    kinds = {
        "application/json": BODY,
        "image/jpeg": JPEG,
        form.headers["Content-Type"]: form.read(),
    }
    for kind, body in kinds.items():
        answer = await http.post(
            "/v1/predictions", content=pack(body), headers={**headers, "Content-Type": kind}
        )
        assert stored(world, answer) == JPEG
    bomb = await http.post(
        "/v1/predictions", content=pack(bytes(10_000_000)), headers={**RAW, **headers}
    )
    assert (bomb.status_code, bomb.json()["code"]) == (413, "image_too_large")
    damaged = await http.post("/v1/predictions", content=JPEG, headers={**RAW, **headers})
    assert (damaged.status_code, "unpacked" in damaged.json()["detail"]) == (422, True)


async def test_a_compressed_batch_is_read(http: httpx.AsyncClient) -> None:
    file = BytesIO()
    with ZipFile(file, "w") as archive:
        archive.writestr("a.jpg", JPEG)
    in_json = json.dumps({"images": [URI]}).encode()
    for kind, body in {"zip": file.getvalue(), "json": in_json}.items():
        headers = {"Content-Encoding": "gzip", "Content-Type": f"application/{kind}"}
        answer = await http.post("/v1/batches", content=gzip.compress(body), headers=headers)
        assert (answer.status_code, answer.json()["total"]) == (202, 1), answer.text


async def test_a_coding_that_is_not_read_is_refused_with_those_that_are(
    http: httpx.AsyncClient, world: World
) -> None:
    for path in ("/v1/predictions", "/v1/batches"):
        for coding in ("br", "gzip, gzip", "zstd"):
            headers = {**RAW, "Content-Encoding": coding}
            answer = await http.post(path, content=JPEG, headers=headers)
            assert answer.status_code == 415
            assert answer.headers["Accept-Encoding"] == "gzip, deflate"
    for coding in ("identity", "UTF-8", "aws-chunked"):
        headers = {**RAW, "Content-Encoding": coding}
        answer = await http.post("/v1/predictions", content=JPEG, headers=headers)
        assert stored(world, answer) == JPEG


@pytest.mark.parametrize("kind", [None, "application/octet-stream", "application/x-zip-compressed"])
async def test_a_zip_of_windows_is_a_batch(http: httpx.AsyncClient, kind: str | None) -> None:
    file = BytesIO()
    with ZipFile(file, "w") as archive:
        archive.writestr("a.jpg", JPEG)
    headers = {"Content-Type": kind} if kind else {}
    answer = await http.post("/v1/batches", content=file.getvalue(), headers=headers)
    assert (answer.status_code, answer.json()["total"]) == (202, 1), answer.text


async def test_white_space_around_urls_is_no_part_of_them(
    http: httpx.AsyncClient, world: World
) -> None:
    hook = "https://hooks.example.com/hook"
    answers = [
        await http.post(
            "/v1/predictions", json={"input": {"image": f" {URL}\r\n"}, "webhook": f"\t{hook} "}
        ),
        await http.post("/v1/predictions", data={"image": f"{URL}\n", "webhook": f"{hook}\n"}),
        await http.post(
            "/v1/predictions", files={"image": (None, f"{URL} ")}, data={"webhook": f" {hook}"}
        ),
    ]
    for answer in answers:
        assert answer.status_code == 202, answer.text
        recorded = world.ledger.get(answer.json()["id"])
        assert (recorded.image_url, recorded.webhook) == (URL, hook)
