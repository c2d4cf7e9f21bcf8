"""Submitting with `slice`, over the in-memory systems."""

import base64
import json
import zipfile
from dataclasses import replace
from io import BytesIO
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from PIL import Image

from api.model_list import ListedModel
from sluice.models import Model, Task
from sluice.settings import LimitsSettings
from sluice.slicing import Slicing
from tests.unit.api.conftest import World

pytestmark = pytest.mark.anyio

URL = "https://images.example.com/a.jpg"
RAW = {"Content-Type": "image/jpeg"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MAX_TILES = 9


@pytest.fixture
def limits() -> LimitsSettings:
    return LimitsSettings(max_bytes=50_000, max_tiles=MAX_TILES)


def _jpeg(width: int = 64, height: int = 48, orientation: int = 1) -> bytes:
    out = BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("L", (width, height)).save(out, "JPEG", exif=exif)
    return out.getvalue()


JPEG = _jpeg()


def _uri(image: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(image).decode()


@pytest.mark.parametrize(
    ("value", "texts", "read"),
    [
        (True, ["true", "True", "on", "yes", " true "], Slicing()),
        (64, ["64", '{"size": 64}', '{"size":[64,64]}'], Slicing(size=(64, 64))),
        (
            {"size": [64, 128], "overlap": 0.3},
            ['{"size": [64, 128], "overlap": 0.3}'],
            Slicing(size=(64, 128), overlap=0.3),
        ),
        (False, ["false", "off", "", " "], None),
    ],
)
async def test_slice_is_the_same_in_every_form(
    http: httpx.AsyncClient, world: World, value: Any, texts: list[str], read: Slicing | None
) -> None:
    world.ledger.settings = world.settings.model_copy(update={"max_backlog": 100})
    given: list[dict[str, Any]] = [{"json": {"input": {"image": URL, "slice": value}}}]
    for text in texts:
        given += [
            {"files": {"image": JPEG}, "data": {"slice": text}},
            {"content": urlencode({"image": URL, "slice": text}), "headers": FORM},
            {"content": JPEG, "headers": RAW, "params": {"slice": text}},
            {"json": {"input": {"image": URL}}, "params": {"slice": text}},
        ]
    for body in given:
        answer = await http.post("/v1/predictions", **body)
        assert answer.status_code == 202, answer.text
        assert world.ledger.get(answer.json()["id"]).parameters.slice == read
        shown = answer.json()["input"]
        assert ("slice" in shown) is bool(read)


@pytest.mark.parametrize("text", ["big", "0.5", "1", "null", '{"size": 64', '"true"', "[64, 64]"])
async def test_a_wrong_text_is_refused_with_what_to_give(
    http: httpx.AsyncClient, world: World, text: str
) -> None:
    bodies: list[dict[str, Any]] = [
        {"files": {"image": JPEG}, "data": {"slice": text}},
        {"content": JPEG, "headers": RAW, "params": {"slice": text}},
    ]
    for body in bodies:
        answer = await http.post("/v1/predictions", **body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
        assert "slice: " in answer.json()["detail"]
        assert "give true, a tile's side in pixels such as 640" in answer.json()["detail"]
    assert world.ledger.backlog() == 0


async def test_a_wrong_field_of_the_object_is_named(http: httpx.AsyncClient) -> None:
    for value, field in (({"size": 3}, "slice.size"), ({"tile": 64}, "slice.tile")):
        answers = [
            await http.post("/v1/predictions", json={"input": {"image": URL, "slice": value}}),
            await http.post(
                "/v1/predictions", files={"image": JPEG}, data={"slice": json.dumps(value)}
            ),
        ]
        for answer in answers:
            assert answer.status_code == 422
            assert field in answer.json()["detail"]


async def test_slice_is_given_once(http: httpx.AsyncClient) -> None:
    answer = await http.post(
        "/v1/predictions",
        json={"input": {"image": URL, "slice": 64}},
        params={"slice": "true"},
    )
    assert answer.json()["detail"] == "slice: is in the query and in the JSON; give it once"


async def test_every_image_of_a_batch_is_sliced(http: httpx.AsyncClient, world: World) -> None:
    world.ledger.settings = world.settings.model_copy(update={"max_backlog": 100})
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("a.jpg", JPEG)
    text = {"slice": '{"size": 64, "overlap": 0.1}'}
    bodies: list[dict[str, Any]] = [
        {"json": {"images": [URL, _uri(JPEG)], "input": {"slice": json.loads(text["slice"])}}},
        {"files": [("image", JPEG), ("image", JPEG)], "data": text},
        {
            "content": archive.getvalue(),
            "headers": {"Content-Type": "application/zip"},
            "params": text,
        },
    ]
    for body in bodies:
        batch = (await http.post("/v1/batches", **body)).json()
        assert batch["errors"] == []
        for index in range(batch["total"]):
            slicing = world.ledger.get(f"{batch['id']}-{index}").parameters.slice
            assert slicing == Slicing(size=(64, 64), overlap=0.1)


async def test_an_image_of_too_many_tiles_is_refused_in_every_form(
    http: httpx.AsyncClient, world: World
) -> None:
    large = _jpeg(300, 100)  # with tiles of 64 and an overlap of 0.2: 6 times 2, and the whole
    file = (await http.post("/v1/files", files={"content": large})).json()["urls"]["get"]
    bodies: list[dict[str, Any]] = [
        {"json": {"input": {"image": _uri(large), "slice": True}}},
        {"json": {"input": {"image": file, "slice": True}}},
        {"files": {"image": large}, "data": {"slice": "64"}},
        {"content": large, "headers": RAW, "params": {"slice": "true"}},
    ]
    for body in bodies:
        answer = await http.post("/v1/predictions", **body)
        assert (answer.status_code, answer.json()["code"]) == (422, "too_many_tiles")
        assert answer.json()["detail"] == (
            "input.slice: the image of 300 x 100 pixels would be 13 tiles of 64 x 64, and at most"
            " 9 are allowed; give a size of at least 96, or a smaller overlap"
        )
    assert world.ledger.backlog() == 0
    batch = await http.post(
        "/v1/batches", files=[("image", JPEG), ("image", large)], data={"slice": "true"}
    )
    (error,) = batch.json()["errors"]
    assert (error["index"], error["code"]) == (1, "too_many_tiles")


@pytest.mark.parametrize(("orientation", "accepted"), [(1, True), (3, True), (6, False)])
async def test_the_upright_image_is_counted(
    http: httpx.AsyncClient, orientation: int, accepted: bool
) -> None:
    """The stored image is 9 tiles in a row. Upright, it is 6 rows of 2 tiles."""
    slicing = {"size": [100, 64], "overlap": 0, "whole": False}
    answer = await http.post(
        "/v1/predictions",
        files={"image": _jpeg(576, 100, orientation)},
        data={"slice": json.dumps(slicing)},
    )
    assert (answer.status_code == 202) is accepted, answer.text


async def test_a_url_is_left_to_the_worker(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/predictions", json={"input": {"image": URL, "slice": 32}})
    assert answer.status_code == 202


async def test_a_default_size_is_left_to_the_worker_while_triton_is_unknown(
    http: httpx.AsyncClient, world: World
) -> None:
    world.catalog.available = world.catalog.seen = False
    body: dict[str, Any] = {"content": _jpeg(300, 100), "headers": RAW}
    answer = await http.post("/v1/predictions", **body, params={"slice": "true"})
    assert answer.status_code == 202
    answer = await http.post("/v1/predictions", **body, params={"slice": "64"})
    assert answer.json()["code"] == "too_many_tiles"


@pytest.mark.parametrize("task", [Task.CLASSIFY, Task.POSE])
async def test_a_task_without_slices_is_refused(
    http: httpx.AsyncClient, world: World, task: Task
) -> None:
    (listed,) = world.catalog.listed
    assert isinstance(listed.model, Model)
    world.catalog.listed = [ListedModel("codes", replace(listed.model, task=task), "", "1", 0, 1.5)]
    answer = await http.post("/v1/predictions", json={"input": {"image": URL, "slice": True}})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert answer.json()["detail"] == (
        f"input.slice: the model's task is {task}, and tiles are for the tasks detect, segment,"
        " obb; leave slice out"
    )
    answer = await http.post("/v1/predictions", json={"input": {"image": URL, "slice": False}})
    assert answer.status_code == 202


async def test_a_repeated_submission_is_told_by_its_slices(http: httpx.AsyncClient) -> None:
    first, *others = [
        await http.put("/v1/predictions/mine", files={"image": JPEG}, data={"slice": text})
        for text in ('{"size": [64, 64]}', "64", "true")
    ]
    assert first.status_code == 202
    assert (others[0].status_code, others[0].json()["id"]) == (202, "mine")
    assert (others[1].status_code, others[1].json()["code"]) == (422, "id_reused")


async def test_the_schemas_show_every_form(http: httpx.AsyncClient) -> None:
    schema = (await http.get("/openapi.json")).json()
    components = schema["components"]["schemas"]
    form = schema["paths"]["/v1/predictions"]["post"]["requestBody"]["content"]
    version = (await http.get("/v1/models/a/codes/versions/codes")).json()["openapi_schema"]
    own = version["components"]["schemas"]
    for properties in (
        components["Parameters"]["properties"],
        components["Input"]["properties"],
        form["multipart/form-data"]["schema"]["properties"],
        own["Input"]["properties"],
    ):
        kinds = [kind.get("type") or kind["$ref"] for kind in properties["slice"]["anyOf"]]
        assert kinds[:3] == ["boolean", "integer", "#/components/schemas/Slicing"]
        assert properties["slice"]["examples"][:2] == [True, 640]
    for slicing in (components["Slicing"], own["Slicing"]):
        size = [kind["type"] for kind in slicing["properties"]["size"]["anyOf"]]
        assert size == ["integer", "array", "null"]
