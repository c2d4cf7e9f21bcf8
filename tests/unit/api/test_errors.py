"""The one table is total, and every error has the one shape."""

import httpx
import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException

from api.errors import STATUSES, install
from sluice import errors
from tests.unit.test_errors import tree


def test_the_table_is_total() -> None:
    assert set(STATUSES) == set(tree())


def test_what_may_pass_is_503_or_429_and_nothing_else_is() -> None:
    assert {found for found, status in STATUSES.items() if status in (429, 503)} == {
        found for found in tree() if found.retryable
    }


async def _ask(error: Exception) -> httpx.Response:
    app = FastAPI()
    install(app)

    @app.get("/")
    async def fail() -> None:
        raise error

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get("/")


@pytest.mark.anyio
@pytest.mark.parametrize("found", list(tree()))
async def test_ours(found: type[errors.SluiceError]) -> None:
    answer = await _ask(found("say what to change"))
    assert answer.status_code == STATUSES[found]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == found.code
    assert answer.json()["detail"] == "say what to change"
    assert ("retry-after" in answer.headers) is found.retryable


@pytest.mark.anyio
async def test_a_fault_of_ours_tells_nothing() -> None:
    answer = await _ask(RuntimeError("the password is hunter2"))
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert "hunter2" not in answer.text


@pytest.mark.anyio
async def test_headers_of_the_frameworks_errors_are_kept() -> None:
    answer = await _ask(HTTPException(405, headers={"Allow": "GET"}))
    assert answer.headers["allow"] == "GET"
    assert answer.json()["code"] == "method_not_allowed"
