"""The fast path and the declared route of `POST /v1/predictions` give the same answers."""

import httpx
import pytest

from api.fast_path import FastPath
from tests.unit.api.conftest import World
from tests.unit.api.test_predictions import JPEG, RAW

pytestmark = pytest.mark.anyio


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
    transport = http._transport
    assert isinstance(transport, httpx.ASGITransport)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(FastPath(transport.app)), base_url="http://test"
    ) as fast_path:  # type: ignore[arg-type]
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
