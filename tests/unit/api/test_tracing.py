"""`traceparent` in requests and answers, with tracing on and off."""

from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI

from api.batch_submitting import _digest
from api.fast_path import FastPath
from sluice.prediction import Prediction, Submission
from tests.fakes.tracer import MemoryTracer
from tests.unit.api.conftest import World
from tests.unit.api.test_predictions import JPEG, RAW

pytestmark = pytest.mark.anyio

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
CALLER = {**RAW, "traceparent": PARENT, "tracestate": "vendor=1"}


def _app(http: httpx.AsyncClient) -> FastAPI:
    transport = http._transport
    assert isinstance(transport, httpx.ASGITransport)
    assert isinstance(transport.app, FastAPI)
    return transport.app


@pytest.fixture(params=["fast path", "route"])
def client(http: httpx.AsyncClient, request: pytest.FixtureRequest) -> httpx.AsyncClient:
    app = FastPath(_app(http)) if request.param == "fast path" else _app(http)
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://test")


@pytest.fixture
def tracer(http: httpx.AsyncClient) -> MemoryTracer:
    tracer, state = MemoryTracer(), _app(http).state
    state.services = replace(state.services, tracer=tracer)
    return tracer


def _record(world: World, answer: httpx.Response) -> Prediction:
    return world.ledger.get(answer.json()["id"])


async def test_with_tracing_off_the_callers_context_is_passed_on(
    client: httpx.AsyncClient, world: World
) -> None:
    answer = await client.post("/v1/predictions", content=JPEG, headers=CALLER)
    record = _record(world, answer)
    assert (record.traceparent, record.tracestate) == (PARENT, "vendor=1")
    assert answer.headers["traceparent"] == PARENT
    assert record.log_fields["trace_id"] == TRACE


async def test_with_tracing_off_nothing_is_made_up(client: httpx.AsyncClient, world: World) -> None:
    for headers in (RAW, {**RAW, "traceparent": "00-wrong"}):
        answer = await client.post("/v1/predictions", content=JPEG, headers=headers)
        assert _record(world, answer).traceparent == ""
        assert "traceparent" not in answer.headers
        assert "trace_id" not in _record(world, answer).log_fields


async def test_with_tracing_on_the_request_is_a_span(
    client: httpx.AsyncClient, world: World, tracer: MemoryTracer
) -> None:
    answer = await client.post("/v1/predictions", content=JPEG, headers=CALLER)
    server, receive, accept = tracer.spans
    assert (server.name, receive.name, accept.name) == (
        "POST /v1/predictions",
        "receive",
        "accept",
    )
    assert server.parent
    assert server.parent.traceparent == PARENT
    assert receive.parent == accept.parent == server.context
    assert server.attributes["http.response.status_code"] == 202
    assert server.attributes["sluice.prediction_id"] == answer.json()["id"]
    assert answer.headers["traceparent"] == server.context.traceparent
    assert _record(world, answer).traceparent == server.context.traceparent
    assert _record(world, answer).tracestate == "vendor=1"


async def test_a_refusal_has_a_span_too(client: httpx.AsyncClient, tracer: MemoryTracer) -> None:
    answer = await client.post("/v1/predictions", content=b"text", headers=RAW)
    server = tracer.spans[0]
    assert server.attributes["http.response.status_code"] == answer.status_code == 415
    assert answer.headers["traceparent"] == server.context.traceparent


async def test_a_read_has_no_span(client: httpx.AsyncClient, tracer: MemoryTracer) -> None:
    answer = await client.get("/v1/predictions", headers=CALLER)
    assert "traceparent" not in answer.headers
    assert tracer.spans == []


async def test_a_repetition_with_another_trace_is_the_same_submission(
    client: httpx.AsyncClient, world: World
) -> None:
    for headers in (CALLER, RAW):
        answer = await client.put("/v1/predictions/mine-1", content=JPEG, headers=headers)
        assert answer.status_code == 202
    assert world.ledger.get("mine-1").traceparent == PARENT


def test_a_repeated_batch_is_the_same_with_another_trace_and_ticket() -> None:
    first = Submission(model="codes", ticket="a", traceparent=PARENT, tracestate="vendor=1")
    assert _digest(first, []) == _digest(Submission(model="codes", ticket="b"), [])
    assert _digest(first, []) != _digest(Submission(model="other"), [])
