"""HTTP beside the routes: HEAD, slashes, prefixes, pages of other origins, and `/docs`."""

import re
from html.parser import HTMLParser

import httpx
import pytest

from api.app import with_cors
from api.fast_path import FastPath
from api.routing import tidy
from sluice.blobs.store import annotated_key
from tests.unit.api.conftest import World
from tests.unit.api.test_predictions import JPEG, RAW

pytestmark = pytest.mark.anyio

ORIGIN = {"Origin": "https://app.example.com"}


async def test_head_is_get_without_the_body(http: httpx.AsyncClient, world: World) -> None:
    submitted = await http.put("/v1/predictions/a?visualize=true", content=JPEG, headers=RAW)
    assert submitted.status_code == 202
    claim = world.ledger.claim("w", 10)
    assert claim is not None
    world.ledger.succeed(claim, {"predictions": []}, {})
    world.blobs.put(annotated_key("a"), JPEG, 60)
    for path in (
        "/healthz",
        "/readyz",
        "/metrics",
        "/docs",
        "/openapi.json",
        "/v1/predictions?limit=1",
        "/v1/predictions/a",
        "/v1/predictions/a/image",
        "/v1/predictions/none",
        "/v1/models/codes",
        "/v1/queue",
        "/v1/files",
        "/nothing",
    ):
        got, head = await http.get(path), await http.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        if path != "/metrics":  # counts the requests themselves
            assert head.headers == got.headers
    assert (await http.head("/v1/predictions/a/cancel")).status_code == 405


async def test_head_of_a_stream_does_not_wait_for_its_end(
    http: httpx.AsyncClient, world: World
) -> None:
    await http.put("/v1/predictions/a", content=JPEG, headers=RAW)
    head = await http.head("/v1/predictions/a/stream")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"].startswith("text/event-stream")


async def test_slashes_too_many_are_served_and_not_redirected(http: httpx.AsyncClient) -> None:
    for path in ("/v1/predictions/", "//v1//predictions", "/v1/predictions//"):
        assert (await http.get(f"http://test{path}?limit=1")).json()["previous"] is None
        answer = await http.post(f"http://test{path}", content=JPEG, headers=RAW)
        assert answer.status_code == 202, "the body needs no second journey"
        await http.post(answer.json()["urls"]["cancel"])


@pytest.mark.parametrize(
    ("path", "prefix", "tidied"),
    [
        ("/", "", "/"),
        ("//", "", "/"),
        ("/docs/", "", "/docs"),
        ("/sluice/docs", "", "/sluice/docs"),
        ("/sluice/docs", "/sluice", "/docs"),
        ("/docs", "/sluice", "/docs"),
        ("/sluice", "/sluice", "/"),
        ("/sluices/docs", "/sluice", "/sluices/docs"),
        ("/a/b/docs", "/a/b", "/docs"),
    ],
)
def test_a_prefix_may_be_taken_off_or_left(path: str, prefix: str, tidied: str) -> None:
    assert tidy(path, prefix) == tidied


async def test_pages_of_allowed_origins_may_call(http: httpx.AsyncClient) -> None:
    transport = http._transport
    assert isinstance(transport, httpx.ASGITransport)
    app = with_cors(FastPath(transport.app), ["https://app.example.com"])  # type: ignore[arg-type]
    asking = {"Access-Control-Request-Method": "POST"}
    asking["Access-Control-Request-Headers"] = "authorization,content-type,prefer"
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),  # type: ignore[arg-type]
        base_url="http://test",
    ) as page:
        preflight = await page.options("/v1/predictions", headers={**ORIGIN, **asking})
        assert preflight.status_code == 200
        assert "prefer" in preflight.headers["access-control-allow-headers"]
        for answer in (
            await page.post("/v1/predictions", content=JPEG, headers={**RAW, **ORIGIN}),
            await page.post("/v1/predictions", content=b"x", headers={**RAW, **ORIGIN}),
            await page.get("/v1/predictions/none", headers=ORIGIN),
        ):
            assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
            assert "Location" in answer.headers["access-control-expose-headers"]
        other = await page.get("/healthz", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
    off = await http.get("/healthz", headers=ORIGIN)
    assert "access-control-allow-origin" not in off.headers
    assert (await http.options("/v1/predictions", headers={**ORIGIN, **asking})).status_code == 405


class _Links(HTMLParser):
    """Checks that elements are closed, and notes what the page would load or lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "img", "link", "iframe")
        if tag not in ("meta", "br"):
            self.open.append(tag)
        values = dict(attrs)
        self.links += filter(None, [values.get("href"), values.get("src")])
        self.ids |= {values["id"] or ""} if "id" in values else set()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


async def test_the_documentation_is_a_page_of_its_own(http: httpx.AsyncClient) -> None:
    page = await http.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "https://" not in page.text.replace("https://www.standardwebhooks.com", "")
    links = _Links()
    links.feed(page.text)
    assert links.open == []
    assert {link for link in links.links if not link.startswith("#")} == {"openapi.json"}
    assert {link[1:] for link in links.links if link.startswith("#")} <= links.ids
    schema = (await http.get("/openapi.json")).json()
    operations = {
        operation["operationId"] for path in schema["paths"].values() for operation in path.values()
    }
    assert operations <= links.ids
    for word in ("confidence", "max_detections", "Idempotency-Key", "Retry-After"):
        assert re.search(f"<code>[^<]*{word}", page.text), word
    assert (await http.get("/redoc")).status_code == 404


async def test_wait_in_the_query_holds_the_answer(http: httpx.AsyncClient) -> None:
    for url in ("/v1/predictions", "/v1/models/sluice/codes/predictions"):
        answer = await http.post(f"{url}?wait=0.1&confidence=0.5", content=JPEG, headers=RAW)
        assert (answer.status_code, answer.json()["input"]["confidence"]) == (202, 0.5)
        assert answer.headers["preference-applied"] == "wait=0.1"
        for wrong in ("", "soon", "-1", "nan", "inf"):
            answer = await http.post(f"{url}?wait={wrong}", content=JPEG, headers=RAW)
            assert (answer.status_code, "wait: " in answer.json()["detail"]) == (422, True)


@pytest.mark.parametrize("name", ["codes", "sluice/codes", "any/codes:codes", "codes:1"])
async def test_predictions_are_listed_by_any_spelling_of_the_model(
    http: httpx.AsyncClient, name: str
) -> None:
    params = {"model": name}
    submitted = await http.post("/v1/predictions", params=params, content=JPEG, headers=RAW)
    assert submitted.json()["model"] == submitted.json()["version"] == "codes"
    page = (await http.get("/v1/predictions", params=params)).json()
    assert [entry["id"] for entry in page["results"]] == [submitted.json()["id"]]
