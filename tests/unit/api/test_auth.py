"""Authentication and the rate: the answers without a valid key, and beyond the rate."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI, Request

from api import errors
from api.auth import CallerDep, SubmitterDep, submitter
from sluice.access import keys
from sluice.access.keys import Caller, Keys
from sluice.access.keys_file import KeysFile
from sluice.errors import RedisUnavailable
from tests.fakes.ratelimit import MemoryRateLimiter


class Away:
    def take(self, name: str, rate_per_s: float, burst: int) -> None:
        raise RedisUnavailable("Redis is unavailable; try again later")


class Clock:
    now_us = 1_800_000_000_000_000

    def __call__(self) -> int:
        return self.now_us


def _app(keys: Keys, limiter: MemoryRateLimiter | Away) -> FastAPI:
    app = FastAPI()
    errors.install(app)
    app.state.services = SimpleNamespace(keys=keys, limiter=limiter)

    @app.get("/whoami")
    async def whoami(caller: CallerDep) -> Caller:
        return caller

    @app.post("/submit")
    async def submit(request: Request, caller: SubmitterDep) -> str:
        await request.body()
        return caller.name

    @app.get("/healthz")
    async def healthz() -> None: ...

    return app


def _client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def slow(path: Path) -> str:
    return KeysFile(path).create("slow", 0.25, 2, 500)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def http(path: Path, slow: str, clock: Clock) -> AsyncIterator[httpx.AsyncClient]:
    async with _client(_app(Keys(path), MemoryRateLimiter(clock))) as client:
        yield client


def _with(key: str, scheme: str = "Bearer") -> dict[str, str]:
    return {"Authorization": f"{scheme} {key}"}


@pytest.mark.anyio
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Token", "token", "Bearer "])
async def test_a_valid_key_names_its_caller(
    http: httpx.AsyncClient, slow: str, scheme: str
) -> None:
    answer = await http.get("/whoami", headers=_with(slow, scheme))
    assert answer.status_code == 200
    assert answer.json() == {
        "name": "slow",
        "max_backlog": 500,
        "rate": [0.25, 2],
        "operator": False,
    }


@pytest.mark.anyio
async def test_a_missing_key_and_a_wrong_key_get_the_same_401(
    http: httpx.AsyncClient, slow: str
) -> None:
    wrong = [
        {},
        _with(""),
        _with(keys.new_key()),
        _with(slow[:-1]),
        _with(slow, "Basic"),
        {"Authorization": slow},
    ]
    calls = [
        (*call, headers) for call in (("GET", "/whoami"), ("POST", "/submit")) for headers in wrong
    ]
    answers = [await http.request(method, path, headers=headers) for method, path, headers in calls]
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].json()["code"] == "unauthorized"
    assert answers[0].headers["content-type"] == "application/problem+json"


@pytest.mark.anyio
@pytest.mark.parametrize("headers", [{}, _with("r8_any"), _with("x", "Basic")])
async def test_without_keys_every_caller_is_default(headers: dict[str, str]) -> None:
    async with _client(_app(Keys(None), Away())) as http:
        assert (await http.get("/whoami", headers=headers)).json()["name"] == "default"
        assert (await http.post("/submit", headers=headers)).json() == "default"


@pytest.mark.anyio
async def test_a_submission_over_the_rate_gets_429_with_retry_after(
    http: httpx.AsyncClient, slow: str, clock: Clock
) -> None:
    for _ in range(2):
        assert (await http.post("/submit", headers=_with(slow))).status_code == 200
    clock.now_us += 900_000
    answer = await http.post("/submit", headers=_with(slow))
    assert answer.status_code == 429
    assert answer.json()["code"] == "rate_limited"
    assert "3.100 s" in answer.json()["detail"]
    assert answer.headers["retry-after"] == "4"  # HTTP has whole seconds only
    clock.now_us += 3_100_000
    assert (await http.post("/submit", headers=_with(slow))).status_code == 200


@pytest.mark.anyio
async def test_only_submissions_count_for_the_rate(http: httpx.AsyncClient, slow: str) -> None:
    for _ in range(5):
        assert (await http.get("/whoami", headers=_with(slow))).status_code == 200
    assert (await http.post("/submit", headers=_with(slow))).status_code == 200


@pytest.mark.anyio
async def test_keys_of_one_name_share_a_rate_and_names_do_not(
    path: Path, slow: str, clock: Clock
) -> None:
    newer, other = (
        KeysFile(path).create("slow", None, None, None),
        KeysFile(path).create("other", 0.25, 1, None),
    )
    async with _client(_app(Keys(path), MemoryRateLimiter(clock))) as http:
        api_keys = [slow, newer, slow, newer, other, other]
        assert [
            (await http.post("/submit", headers=_with(key))).status_code for key in api_keys
        ] == [
            200,
            200,
            429,
            429,
            200,
            429,
        ]


@pytest.mark.anyio
async def test_the_body_of_a_refused_request_is_not_read(
    http: httpx.AsyncClient, slow: str
) -> None:
    read = []

    async def body() -> AsyncIterator[bytes]:
        read.append("body")
        yield b"x"

    for _ in range(3):
        answer = await http.post("/submit", headers=_with(slow), content=body())
    assert answer.status_code == 429
    assert len(read) == 2
    assert (await http.post("/submit", content=body())).status_code == 401
    assert len(read) == 2


@pytest.mark.anyio
async def test_a_submission_counts_once_for_the_rate(slow: str, path: Path, clock: Clock) -> None:
    """Even where a route and its router both have the dependency."""
    app = _app(Keys(path), MemoryRateLimiter(clock))

    @app.post("/both", dependencies=[Depends(submitter)])
    async def both(caller: SubmitterDep, again: Annotated[Caller, Depends(submitter)]) -> None: ...

    async with _client(app) as http:
        assert [(await http.post("/both", headers=_with(slow))).status_code for _ in range(3)] == [
            200,
            200,
            429,
        ]


@pytest.mark.anyio
async def test_without_redis_a_rate_can_not_be_checked(slow: str, path: Path) -> None:
    async with _client(_app(Keys(path), Away())) as http:
        assert (await http.get("/whoami", headers=_with(slow))).status_code == 200
        answer = await http.post("/submit", headers=_with(slow))
    assert answer.status_code == 503
    assert answer.json()["code"] == "redis_unavailable"


def test_openapi_names_the_routes_that_need_a_key() -> None:
    schema = _app(Keys(None), Away()).openapi()
    assert schema["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert schema["paths"]["/whoami"]["get"]["security"] == [{"key": []}]
    assert schema["paths"]["/submit"]["post"]["security"] == [{"key": []}]
    assert "security" not in schema["paths"]["/healthz"]["get"]
