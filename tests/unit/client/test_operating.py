"""The client's calls for operators and for test events, synchronous and asynchronous."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from sluice.client import AsyncClient, Client, ServiceError
from tests.support.answers import prediction

pytestmark = pytest.mark.anyio

DELIVERY = {
    "id": "a_test",
    "type": "webhook.test",
    "url": "https://a.example/hook",
    "status": "waiting",
    "reason": None,
    "attempts": 0,
    "log": [],
}
MINUTE = {
    "at": "2026-11-28T10:00:00Z",
    "backlog": 3,
    "processing": 1,
    "workers": 2,
    "succeeded": 5,
    "failed": 0,
    "aborted": 0,
    "latency_p50_s": 0.2,
    "latency_p95_s": 0.4,
}
AT = "http://elsewhere/prefix/v1/list?limit=2&cursor="


def _page(result: dict[str, Any]) -> dict[str, Any]:
    return {"previous": None, "next": f"{AT}abc%3D", "results": [result]}


ANSWERS: dict[str, dict[str, Any]] = {
    "GET /v1/predictions": _page(prediction()),
    "GET /v1/dead-letters": _page(prediction(status="failed")),
    "GET /v1/deliveries": {**_page(DELIVERY), "previous": f"{AT}0"},
    "GET /v1/queue/timeline": {"results": [MINUTE]},
    "POST /v1/dead-letters/a/requeue": prediction(),
    "GET /v1/deliveries/a_test": DELIVERY,
    "POST /v1/webhooks/test": DELIVERY,
}


class _Service:
    """Answers each call, and keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(200, json=ANSWERS[f"{request.method} {request.url.path}"])


CALLS: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "predictions": (
        "/v1/predictions?key=%2A&cursor=c&limit=2",
        lambda client: client.predictions_page("c", limit=2, key="*"),
        "abc=",
    ),
    "dead letters": (
        "/v1/dead-letters?limit=2",
        lambda client: client.dead_letters(limit=2),
        "abc=",
    ),
    "failed deliveries": (
        "/v1/deliveries?cursor=3&limit=50",
        lambda client: client.failed_deliveries("3"),
        "abc=",
    ),
}


@pytest.mark.parametrize("name", CALLS)
async def test_pages_have_cursors(name: str) -> None:
    path, call, following = CALLS[name]
    service = _Service()
    with Client("http://sluice", transport=httpx.MockTransport(service)) as client:
        page = call(client)
    async with AsyncClient("http://sluice", transport=httpx.MockTransport(service)) as client:
        assert await call(client) == page
    assert [request.url.raw_path.decode() for request in service.requests] == [path, path]
    assert page.next == following
    assert page.previous == ("0" if name == "failed deliveries" else None)
    assert len(page.results) == 1


async def test_the_other_calls_of_operating() -> None:
    service = _Service()
    with Client("http://sluice", transport=httpx.MockTransport(service)) as client:
        answers = [
            client.timeline(5),
            client.requeue("a"),
            client.delivery("a_test"),
            client.send_test_event("https://a.example/hook"),
        ]
    async with AsyncClient("http://sluice", transport=httpx.MockTransport(service)) as aio:
        assert answers == [
            await aio.timeline(5),
            await aio.requeue("a"),
            await aio.delivery("a_test"),
            await aio.send_test_event("https://a.example/hook"),
        ]
    (minute,), requeued, delivery, _ = answers
    assert (minute.backlog, minute.latency_p95_s, minute.at.hour) == (3, 0.4, 10)
    assert (requeued.status, delivery.status) == ("starting", "waiting")
    assert service.requests[3].content == b'{"url":"https://a.example/hook"}'


@pytest.mark.parametrize("call", ["requeue", "send_test_event"])
def test_a_call_that_does_a_thing_twice_is_not_repeated(call: str) -> None:
    requests = []

    def fail(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        raise httpx.ReadTimeout("no answer")

    with (
        Client("http://sluice", transport=httpx.MockTransport(fail)) as client,
        pytest.raises(ServiceError),
    ):
        getattr(client, call)("a")
    assert len(requests) == 1
