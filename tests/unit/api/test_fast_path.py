"""The fast path and the declared routes of its calls give the same answers."""

from pathlib import Path

import httpx
import pytest

from api.fast_path import FastPath
from sluice.access.keys_file import KeysFile
from sluice.prediction import Submission
from tests.unit.api.conftest import World
from tests.unit.api.test_predictions import JPEG, RAW

pytestmark = pytest.mark.anyio


def _fast(http: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client of the same application behind the fast path."""
    transport = http._transport
    assert isinstance(transport, httpx.ASGITransport)
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(FastPath(transport.app)),  # type: ignore[arg-type]
        base_url="http://test",
    )


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"content": JPEG, "headers": RAW}, 202),
        ({"content": JPEG, "headers": {**RAW, "Idempotency-Key": "x"}}, 202),
        ({"content": JPEG, "headers": {**RAW, "Idempotency-Key": "x" * 256}}, 422),
        ({"content": JPEG, "headers": {"Content-Type": "text/plain"}}, 202),
        ({"content": b"text", "headers": {"Content-Type": "text/plain"}}, 415),
        ({"content": b"text", "headers": RAW}, 415),
        ({"content": JPEG, "headers": RAW, "params": {"confidence": "2"}}, 422),
        ({"json": {"input": {}}}, 422),
        ({"content": JPEG + bytes(60_000), "headers": RAW}, 413),
    ],
)
async def test_the_fast_path_answers_like_the_declared_route(
    http: httpx.AsyncClient, world: World, options: dict[str, object], status: int
) -> None:
    async with _fast(http) as fast_path:
        answers = [await client.post("/v1/predictions", **options) for client in (http, fast_path)]  # type: ignore[arg-type]
        assert [answer.status_code for answer in answers] == [status] * 2
        assert answers[0].headers.keys() == answers[1].headers.keys()
        assert answers[0].json().keys() == answers[1].json().keys()
        if status != 202:
            assert answers[0].json() == answers[1].json()
        assert (await fast_path.get("/v1/predictions")).status_code == 200
        metrics = (await fast_path.get("/metrics")).text
    assert (
        f'sluice_http_requests_total{{method="POST",route="/v1/predictions",status="{status}"}} 2.0'
        in metrics
    )


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("ended", 200),
        ("ended?wait=5", 200),
        ("queued?wait=0.01", 200),
        ("queued", 200),
        ("unknown", 404),
        ("Unknown", 422),
        ("x" * 65, 422),
        ("queued?wait=-1", 422),
        ("queued?wait=soon", 422),
        ("queued?wait=1e-2", 200),
        ("queued?other=1", 200),
        ("queued/", 200),
        ("queued/image", 404),
    ],
)
async def test_a_reading_on_the_fast_path_answers_like_the_declared_route(
    http: httpx.AsyncClient, world: World, path: str, status: int
) -> None:
    world.ledger.create("ended", Submission(model="codes"))
    claim = world.ledger.claim("w", 10)
    assert claim is not None
    world.ledger.succeed(claim, {"predictions": []}, {})
    world.ledger.create("queued", Submission(model="codes"))
    async with _fast(http) as fast_path:
        answers = [await client.get(f"/v1/predictions/{path}") for client in (http, fast_path)]
        assert [answer.status_code for answer in answers] == [status] * 2
        assert answers[0].headers == answers[1].headers
        assert answers[0].json() == answers[1].json()
        if status == 200:
            tag = {"If-None-Match": answers[0].headers["etag"]}
            assert (await fast_path.get(f"/v1/predictions/{path}", headers=tag)).status_code == 304
        metrics = (await fast_path.get("/metrics")).text
    if not path.endswith("/image"):
        route = 'method="GET",route="/v1/predictions/{id}"'
        assert f'sluice_http_requests_total{{{route},status="{status}"}} 2.0' in metrics


class TestWithKeys:
    @pytest.fixture
    def keys_file(self, tmp_path: Path) -> Path:
        return tmp_path / "keys.json"

    @pytest.fixture
    def headers(self, keys_file: Path) -> dict[str, dict[str, str]]:
        """The header of each name's key."""
        return {
            name: {"Authorization": f"Bearer {KeysFile(keys_file).create(name, None, None, None)}"}
            for name in ("camera", "gate")
        }

    async def test_a_reading_on_the_fast_path_needs_its_owners_key(
        self, headers: dict[str, dict[str, str]], http: httpx.AsyncClient, world: World
    ) -> None:
        world.ledger.create("a", Submission(model="codes", key="camera"))
        path = "/v1/predictions/a"
        async with _fast(http) as fast_path:
            assert (await fast_path.get(path)).status_code == 401
            assert (await fast_path.get(path, headers=headers["gate"])).status_code == 404
            assert (await fast_path.get(path, headers=headers["camera"])).status_code == 200
