"""The Python client, with answers from httpx's own test transport."""

import subprocess
import sys
from collections.abc import Callable

import httpx
import pytest

from sluice.client.client import Client, ServiceError


def _client(answer: Callable[[httpx.Request], httpx.Response]) -> Client:
    return Client("http://sluice", transport=httpx.MockTransport(answer))


def test_submit_sends_the_bytes_and_the_parameters() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.content == b"image"
        assert dict(request.url.params) == {
            "model": "codes",
            "confidence": "0.5",
            "visualize": "true",
        }
        return httpx.Response(202, json={"id": "a"})

    assert _client(answer).submit(
        b"image", model="codes", confidence=0.5, visualize=True, iou=None
    ) == {"id": "a"}


def test_wait_polls_until_the_end() -> None:
    ends = iter([None, None, "2026-11-22T18:00:00Z"])

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"status": "x", "completed_at": next(ends)})

    assert _client(answer).wait("a")["completed_at"]


def test_wait_gives_up_after_its_timeout() -> None:
    with pytest.raises(ServiceError, match="still processing after 0 s") as caught:
        _client(
            lambda _: httpx.Response(200, json={"status": "processing", "completed_at": None})
        ).wait("a", timeout_s=0)
    assert caught.value.code == "timeout"


def test_a_problem_becomes_an_error() -> None:
    problem = {"detail": "no prediction 'a'", "code": "not_found", "status": 404}
    with pytest.raises(ServiceError, match="no prediction") as caught:
        _client(lambda _: httpx.Response(404, json=problem)).get("a")
    assert (caught.value.code, caught.value.status) == ("not_found", 404)


def test_an_answer_without_a_problem_and_a_lost_answer_are_errors() -> None:
    with pytest.raises(ServiceError, match="answered 502") as caught:
        _client(lambda _: httpx.Response(502, text="<html>")).get("a")
    assert caught.value.status == 502

    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(ServiceError, match="did not answer") as caught:
        _client(refuse).get("a")
    assert caught.value.status is None


def test_a_key_is_sent_as_a_bearer_token() -> None:
    authorizations = []

    def answer(request: httpx.Request) -> httpx.Response:
        authorizations.append(request.headers.get("Authorization"))
        return httpx.Response(200, json={})

    for key in ("sluice_x", None):
        with Client("http://test", key, transport=httpx.MockTransport(answer)) as client:
            client.get("a")
    assert authorizations == ["Bearer sluice_x", None]


def test_the_import_is_light() -> None:
    """A fresh interpreter shows all that the import of the client imports."""
    heavy = ["celery", "redis", "PIL", "pydantic", "pydantic_settings", "typer", "numpy"]
    code = f"import sys, sluice.client; print([n for n in {heavy!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
