"""Who calls, and how often: what a request without a key, and one too many, are answered."""

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


def _app(found: Keys, limiter: MemoryRateLimiter | Away) -> FastAPI:
    app = FastAPI()
    errors.install(app)
    app.state.services = SimpleNamespace(keys=found, limiter=limiter)

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
async def test_a_key(http: httpx.AsyncClient, slow: str, scheme: str) -> None:
    answer = await http.get("/whoami", headers=_with(slow, scheme))
    assert answer.status_code == 200
    assert answer.json() == {"name": "slow", "max_backlog": 500, "rate": [0.25, 2]}


@pytest.mark.anyio
async def test_no_key_and_a_wrong_one_are_answered_alike(
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
async def test_keys_off(headers: dict[str, str]) -> None:
    async with _client(_app(Keys(None), Away())) as http:
        assert (await http.get("/whoami", headers=headers)).json()["name"] == "default"
        assert (await http.post("/submit", headers=headers)).json() == "default"


@pytest.mark.anyio
async def test_too_fast(http: httpx.AsyncClient, slow: str, clock: Clock) -> None:
    for _ in range(2):
        assert (await http.post("/submit", headers=_with(slow))).status_code == 200
    clock.now_us += 900_000
    answer = await http.post("/submit", headers=_with(slow))
    assert answer.status_code == 429
    assert answer.json()["code"] == "rate_limited"
    assert "3.100 s" in answer.json()["detail"]
    assert answer.headers["retry-after"] == "4"  # whole seconds are all that HTTP has
    clock.now_us += 3_100_000
    assert (await http.post("/submit", headers=_with(slow))).status_code == 200


@pytest.mark.anyio
async def test_only_submissions_count(http: httpx.AsyncClient, slow: str) -> None:
    for _ in range(5):
        assert (await http.get("/whoami", headers=_with(slow))).status_code == 200
    assert (await http.post("/submit", headers=_with(slow))).status_code == 200


@pytest.mark.anyio
async def test_names_do_not_share_a_rate_and_keys_of_one_name_do(
    path: Path, slow: str, clock: Clock
) -> None:
    newer, other = (
        KeysFile(path).create("slow", None, None, None),
        KeysFile(path).create("other", 0.25, 1, None),
    )
    async with _client(_app(Keys(path), MemoryRateLimiter(clock))) as http:
        asked = [slow, newer, slow, newer, other, other]
        assert [(await http.post("/submit", headers=_with(key))).status_code for key in asked] == [
            200,
            200,
            429,
            429,
            200,
            429,
        ]


@pytest.mark.anyio
async def test_who_is_refused_sent_the_body_for_nothing(http: httpx.AsyncClient, slow: str) -> None:
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
async def test_a_submission_counts_once(slow: str, path: Path, clock: Clock) -> None:
    """Also where a route and its router both ask for it."""
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
async def test_redis_away(slow: str, path: Path) -> None:
    async with _client(_app(Keys(path), Away())) as http:
        assert (await http.get("/whoami", headers=_with(slow))).status_code == 200
        answer = await http.post("/submit", headers=_with(slow))
    assert answer.status_code == 503
    assert answer.json()["code"] == "redis_unavailable"


def test_openapi_says_who_asks_for_a_key() -> None:
    found = _app(Keys(None), Away()).openapi()
    assert found["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert found["paths"]["/whoami"]["get"]["security"] == [{"key": []}]
    assert found["paths"]["/submit"]["post"]["security"] == [{"key": []}]
    assert "security" not in found["paths"]["/healthz"]["get"]
