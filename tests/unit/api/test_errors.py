"""Every error class has a status, and every answer to an error has the same shape."""

import httpx
import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException

from api.errors import STATUSES, install
from sluice import errors
from tests.unit.test_errors import tree


def test_the_table_is_total() -> None:
    assert set(STATUSES) == set(tree())


def test_only_retryable_errors_get_503_or_429() -> None:
    assert {error_class for error_class, status in STATUSES.items() if status in (429, 503)} == {
        error_class for error_class in tree() if error_class.retryable
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
@pytest.mark.parametrize("error_class", list(tree()))
async def test_every_error_of_the_tree_becomes_a_problem(
    error_class: type[errors.SluiceError],
) -> None:
    answer = await _ask(error_class("say what to change"))
    assert answer.status_code == STATUSES[error_class]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == error_class.code
    assert answer.json()["detail"] == "say what to change"
    assert ("retry-after" in answer.headers) is error_class.retryable


@pytest.mark.anyio
async def test_an_unexpected_error_hides_its_details() -> None:
    answer = await _ask(RuntimeError("the password is hunter2"))
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert "hunter2" not in answer.text


@pytest.mark.anyio
async def test_the_headers_of_the_frameworks_errors_are_kept() -> None:
    answer = await _ask(HTTPException(405, headers={"Allow": "GET"}))
    assert answer.headers["allow"] == "GET, HEAD"
    assert answer.json()["code"] == "method_not_allowed"
