"""Keys, errors as sentences, and the guard around the page."""

from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from sluice.client import ServiceError
from ui.guard import Guard, bytes_in
from ui.session import Access, sentence


@pytest.mark.parametrize("key", ["a\nb", "schl\u00fcssel", "two words"])
def test_a_text_that_is_no_key_is_refused_without_being_repeated(key: str) -> None:
    with pytest.raises(ServiceError) as raised:
        Access("http://sluice").client(key)
    assert key not in sentence(raised.value)


def test_errors_are_sentences_with_a_remedy() -> None:
    assert sentence(ServiceError("the key is unknown", "unauthorized", 401)).endswith(
        "Enter a valid API key at the top of the page."
    )
    assert sentence(ServiceError("the queue is full", "queue_full", 429, 2.0)) == (
        "The queue is full. Try again in 2 s."
    )


async def _request(guard: Guard, method: str, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(guard)
    async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
        return await client.request(method, path)


@pytest.mark.anyio
async def test_every_answer_keeps_browsers_to_this_host(tmp_path: Path) -> None:
    headers = (await _request(Guard(Starlette(), tmp_path, 10), "GET", "/")).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.anyio
async def test_uploads_are_refused_while_the_folder_is_full(tmp_path: Path) -> None:
    guard = Guard(Starlette(), tmp_path, max_bytes=10)
    assert (await _request(guard, "POST", "/gradio_api/upload")).status_code == 404
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(bytes(10))
    assert bytes_in(tmp_path) == 10
    assert (await _request(guard, "POST", "/gradio_api/upload")).status_code == 503
    assert (await _request(guard, "GET", "/")).status_code == 404


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/page/where", "/where"])
async def test_a_prefix_is_served_whether_a_proxy_takes_it_off_or_not(
    tmp_path: Path, path: str
) -> None:
    inside = Starlette(routes=[Route("/where", lambda request: PlainTextResponse("here"))])
    guard = Guard(inside, tmp_path, 10, "/page")
    assert (await _request(guard, "GET", path)).text == "here"
    assert (await _request(guard, "GET", "/pages/where")).status_code == 404
    moved = await _request(guard, "GET", "/page")
    assert (moved.status_code, moved.headers["location"]) == (307, "/page/")
