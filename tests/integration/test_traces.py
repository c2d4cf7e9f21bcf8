"""Traces and logs of a live stack, with a collector of OTLP and a receiver of webhooks."""

import base64
import json
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluice.access.keys_file import KeysFile
from sluice.local.config import ALL_PARTS
from sluice.local.stack import Stack, StackConfig
from sluice.tracing import parse
from tests.support.loopback import Handler, serving
from tests.support.otlp import Collector, ReceivedSpan, collecting, tree
from tests.support.servers import redis_server
from tests.support.waiting import until

pytestmark = pytest.mark.integration

JPEG = {"Content-Type": "image/jpeg"}
PASSWORD, TOKEN, USER = "pa55-of-redis", "t0ken-in-query", "us3r-in-url"
COLLECTOR_SECRET = "s3cret-of-collector"
MAX_SPANS = 12
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e47%02x", "00f067aa0ba902b7"


@dataclass
class Outside:
    """The server beyond the stack: it has images, and receives webhooks."""

    image: bytes
    url: str = ""
    hooks: list[tuple[str, str]] = field(default_factory=list)
    """The path and `traceparent` of each webhook."""
    failures: int = 0
    """How many webhooks are answered 500 from now on."""
    asked: threading.Event = field(default_factory=threading.Event)
    """Set once the slow image was asked for."""
    go_on: threading.Event = field(default_factory=threading.Event)

    def answer(self, handler: Handler) -> None:
        if handler.command == "POST":
            self.hooks.append((handler.path, handler.headers.get("traceparent", "")))
            self.failures, failed = max(0, self.failures - 1), self.failures > 0
            handler.reply(500 if failed else 204)
        elif handler.path.startswith("/slow"):
            self.asked.set()
            self.go_on.wait(8)
            handler.reply(200, self.image)
        else:
            handler.reply(404)


@dataclass
class World:
    http: httpx.Client
    stack: Stack
    collector: Collector
    outside: Outside
    api_key: str
    logs: Path

    def submit(self, number: int, sampled: bool = True, **options: Any) -> dict[str, Any]:
        """Submit as a caller whose trace is `number`. The prediction, once it has ended."""
        parent = f"00-{TRACE % number}-{CALLER}-{sampled:02x}"
        answer = self.http.post(
            "/v1/predictions?wait=30", headers={"traceparent": parent}, **options
        )
        assert answer.status_code == 201, answer.text
        context = parse(answer.headers["traceparent"])
        assert context
        assert context.trace_id == TRACE % number
        assert context.span_id != CALLER
        assert context.sampled is sampled
        ended: dict[str, Any] = answer.json()
        return ended

    def trace(self, number: int, *names: str) -> list[ReceivedSpan]:
        """The spans of the trace, once it has all these names."""

        def spans() -> list[ReceivedSpan] | None:
            received = self.collector.spans(TRACE % number)
            missing = Counter(names) - Counter(span.name for span in received)
            return None if missing else received

        return until(spans, 20, what=f"the spans {names}")

    def named(self, spans: list[ReceivedSpan], name: str) -> ReceivedSpan:
        (span,) = (span for span in spans if span.name == name)
        return span


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, models: Path, sample: bytes) -> Iterator[World]:
    state, folder = tmp_path_factory.mktemp("stack"), tmp_path_factory.mktemp("more")
    keys_file = folder / "keys.json"
    api_key = KeysFile(keys_file).create("team", None, None, None)
    outside = Outside(sample)
    with collecting() as collector, serving(outside.answer) as server, redis_server(folder) as url:
        outside.url = f"http://127.0.0.1:{server.port}"
        with_password = url.replace("//", f"//default:{PASSWORD}@")
        env = {
            "SLUICE_REDIS_URL": with_password,
            "SLUICE_BLOBS_URL": with_password,
            "SLUICE_API_KEYS_FILE": str(keys_file),
            "SLUICE_LOG_FORMAT": "json",
            "SLUICE_LOG_LEVEL": "DEBUG",
            "SLUICE_NETGUARD_ALLOW": "127.0.0.1/32",
            "SLUICE_QUEUE_LEASE_S": "3",
            "SLUICE_QUEUE_SWEEP_INTERVAL_S": "0.5",
            "SLUICE_WEBHOOKS_SCHEDULE_S": "0.2,0.2",
            "SLUICE_TRACING_EXPORTER": "otlp",
            "SLUICE_TRACING_MAX_SPANS": str(MAX_SPANS),
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={COLLECTOR_SECRET}",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=tests",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        config = StackConfig(
            state=state, models=models, port=0, env=env, parts=ALL_PARTS - {"redis"}
        )
        with (
            Stack(config) as stack,
            httpx.Client(
                base_url=stack.addresses.api,
                timeout=60,
                headers={"Authorization": f"Bearer {api_key}"},
            ) as http,
        ):
            yield World(http, stack, collector, outside, api_key, state / "logs")


def test_one_trace_from_the_request_to_the_webhook(world: World, sample: bytes) -> None:
    world.outside.failures = 1
    query = {"visualize": "true", "webhook": f"{world.outside.url}/hook?token={TOKEN}"}
    query["webhook_events_filter"] = "completed"
    answer = world.http.post(
        "/v1/predictions",
        params={**query, "wait": "30"},
        content=sample,
        headers={**JPEG, "traceparent": f"00-{TRACE % 1}-{CALLER}-01", "tracestate": "vendor=1"},
    )
    assert answer.status_code == 201, answer.text
    ended = answer.json()
    stages = ("claim", "fetch", "decode", "letterbox", "inference", "postprocess", "annotate")
    spans = world.trace(
        1, "POST /v1/predictions", "receive", "accept", "queue", "attempt", *stages, "finish",
        "webhook", "webhook",
    )  # fmt: skip
    server, attempt = world.named(spans, "POST /v1/predictions"), world.named(spans, "attempt")
    first, second = sorted(
        (span for span in spans if span.name == "webhook"), key=lambda span: span.start_ns
    )
    parents = {span.name: span.parent_id for span in spans}
    assert server.parent_id == CALLER
    assert answer.headers["traceparent"] == f"00-{TRACE % 1}-{server.span_id}-01"
    below_server = ("receive", "accept", "queue", "attempt", "webhook")
    assert {parents[name] for name in below_server} == {server.span_id}
    assert {parents[name] for name in (*stages, "finish")} == {attempt.span_id}
    assert {span.service for span in spans} == {
        "sluice-api",
        "sluice-predictions",
        "sluice-webhooks",
    }
    assert server.attributes["sluice.prediction_id"] == ended["id"]
    assert attempt.attributes["sluice.prediction_id"] == ended["id"]
    assert (first.error, first.links) == ("500", ())
    assert (second.error, second.links) == ("", (first.span_id,))
    assert [parent for _, parent in world.outside.hooks] == [
        f"00-{TRACE % 1}-{span.span_id}-01" for span in (first, second)
    ]
    printed = tree(spans)
    assert re.search(r"ms {2}sluice-predictions +inference", printed)
    assert len(printed.splitlines()) == 1 + len(spans)


def test_a_caller_decides_that_a_trace_is_not_recorded(world: World, sample: bytes) -> None:
    before = len(world.outside.hooks)
    world.submit(2, sampled=False, json=_json(sample, webhook=f"{world.outside.url}/quiet"))
    until(lambda: len(world.outside.hooks) > before + 1)  # the start, and the end
    for _, parent in world.outside.hooks[before:]:
        assert parent.startswith(f"00-{TRACE % 2}-")
        assert parent.endswith("-00")
    world.submit(3, json=_json(sample))
    world.trace(3, "finish")
    assert world.collector.spans(TRACE % 2) == []


def test_the_attempt_after_a_killed_one_has_a_link(world: World) -> None:
    answer = world.http.post(
        "/v1/predictions",
        json={"input": {"image": f"{world.outside.url}/slow.jpg?token={TOKEN}"}},
        headers={"traceparent": f"00-{TRACE % 4}-{CALLER}-01"},
    )
    assert world.outside.asked.wait(30)
    os.kill(world.stack.pids["worker-1"], signal.SIGKILL)
    world.outside.go_on.set()
    ended = world.http.get(answer.json()["urls"]["get"], params={"wait": "40"}).json()
    assert ended["status"] == "succeeded", ended
    spans = world.trace(4, "attempt", "queue", "finish")
    attempt, context = world.named(spans, "attempt"), parse(answer.headers["traceparent"])
    assert context
    assert attempt.attributes["sluice.attempt"] == 2
    assert attempt.links == (context.derived(f"{ended['id']} attempt 1").span_id,)
    assert attempt.parent_id == context.span_id


def test_an_image_of_a_batch_has_two_spans(world: World, sample: bytes) -> None:
    answer = world.http.post(
        "/v1/batches",
        files=[("image", (name, sample, "image/jpeg")) for name in ("a.jpg", "b.jpg")],
        headers={"traceparent": f"00-{TRACE % 5}-{CALLER}-01"},
    )
    assert answer.status_code == 202, answer.text
    spans = world.trace(5, "attempt", "attempt", "POST /v1/batches")
    assert Counter(span.name for span in spans) == {
        "POST /v1/batches": 1,
        "queue": 2,
        "attempt": 2,
    }


def test_a_sliced_image_has_a_bounded_number_of_spans(world: World, sample: bytes) -> None:
    world.submit(6, json=_json(sample, slice=200))
    spans = world.trace(6, "attempt", "POST /v1/predictions")
    of_worker = [span for span in spans if span.service == "sluice-predictions"]
    attempt = world.named(spans, "attempt")
    assert len(of_worker) <= MAX_SPANS
    assert int(str(attempt.attributes["sluice.spans_left_out"])) > 0


def test_no_log_holds_a_secret_and_each_line_is_an_event(world: World, sample: bytes) -> None:
    wrong_key = "sluice_" + "w" * 43
    image = base64.b64encode(sample).decode()
    bad: list[tuple[dict[str, Any], dict[str, str]]] = [
        (_json(sample), {"Authorization": f"Bearer {wrong_key}"}),
        (_json(b"no image at all " * 40), {}),
        ({"input": {"image": f"http://{USER}:{PASSWORD}@127.0.0.1:1/x.jpg?token={TOKEN}"}}, {}),
        ({"input": {"image": f"{world.outside.url}/none.jpg?token={TOKEN}"}}, {}),
        (_json(sample, webhook=f"http://127.0.0.1:1/closed?token={TOKEN}"), {}),
        ({"input": {"image": f"data:image/png;base64,{image[:5000]}"}}, {}),
    ]
    for body, headers in bad:
        world.http.post("/v1/predictions?wait=20", json=body, headers=headers)
    lines = []
    for part in ("api", "worker-1", "webhooks"):
        lines += (world.logs / f"{part}.log").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert {event["part"] for event in events} == {"api", "predictions", "webhooks"}
    assert {"prediction_succeeded", "prediction_failed", "delivery_arrived"} <= {
        event["event"] for event in events
    }
    ended = [event for event in events if event["event"] == "prediction_succeeded"]
    assert all(
        {"prediction", "key", "model", "trace_id", "seconds"} <= event.keys() for event in ended
    )
    assert [event for event in events if event["level"] == "ERROR" and "stack" in event] == []
    text = "\n".join(path.read_text(errors="replace") for path in world.logs.iterdir())
    secrets = (PASSWORD, TOKEN, USER, COLLECTOR_SECRET, world.api_key, wrong_key, "whsec_")
    assert [secret for secret in (*secrets, image[:40], image[200:240]) if secret in text] == []


def _json(image: bytes, webhook: str | None = None, **parameters: Any) -> dict[str, Any]:
    """A request's body with the image as a `data:` URI."""
    uri = f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"
    body: dict[str, Any] = {"input": {"image": uri, **parameters}}
    return {**body, "webhook": webhook} if webhook else body
