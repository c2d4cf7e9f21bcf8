"""The api's Prometheus metrics: their middleware, and the text of a scrape."""

import time

from prometheus_client.exposition import choose_encoder
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import PROBLEM
from sluice.metrics.exemplars import Exemplars, TraceId, no_trace
from sluice.metrics.http import HttpMetrics
from sluice.metrics.process import add_process
from sluice.metrics.queue import QueueMetrics, Snapshot
from sluice.metrics.recorder import Recorder


class Metrics:
    """The metrics of one api process."""

    def __init__(self, trace_id: TraceId = no_trace) -> None:
        recorder = Recorder()
        self.http = HttpMetrics(recorder, Exemplars(trace_id))
        self._queue = QueueMetrics(recorder)
        self._registry = recorder.registry
        add_process(recorder)

    def text(
        self, snapshot: Snapshot, *, connections: int, followers: int, accept: str = ""
    ) -> tuple[bytes, str]:
        """All metrics in the format that the header Accept asks for, and its content type."""
        self.http.connections.set(connections)
        self.http.followers.set(followers)
        self._queue.snapshot = snapshot
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class Measured:
    """ASGI middleware. A route is named by its pattern, so that ids make no new series."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            seconds = time.perf_counter() - start
            code = scope.get(PROBLEM)
            metrics: Metrics = scope["app"].state.services.metrics
            metrics.http.answered(scope["method"], route, status, seconds, code)
