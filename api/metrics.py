"""Prometheus metrics: requests by route and status, the time of their answers, and the queue."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sluice.ledger.answers import QueueLoad

_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """The metrics of one process.

    Times end with the last byte of the answer, so a long poll counts the time that it waits.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter(
            "sluice_http_requests", "Requests answered.", labels, registry=self._registry
        )
        self._seconds = Histogram(
            "sluice_http_request_seconds",
            "Seconds until the last byte of the answer.",
            ("method", "route"),
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._connections = Gauge(
            "sluice_http_connections", "Open connections of clients.", registry=self._registry
        )
        self._followers = Gauge(
            "sluice_http_followers", "Open long polls and streams.", registry=self._registry
        )
        self._queue = {
            name: Gauge(f"sluice_queue_{name}", text, registry=self._registry)
            for name, text in {
                "backlog": "Predictions that are queued or running.",
                "running": "Predictions that are running.",
                "workers": "Worker processes with a recent heartbeat.",
                "oldest_seconds": "Seconds since the oldest of the backlog was submitted.",
                "ended_per_second": "Predictions that ended while others waited,"
                " in the best ten seconds of the last minute.",
            }.items()
        }

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def text(self, load: QueueLoad, *, connections: int, followers: int) -> bytes:
        """All metrics, in Prometheus's text format."""
        self._connections.set(connections)
        self._followers.set(followers)
        values = (load.live, load.running, load.workers, load.oldest_s, load.drain_rate_per_s)
        for gauge, value in zip(self._queue.values(), values, strict=True):
            gauge.set(value)
        return generate_latest(self._registry)


class Measured:
    """ASGI middleware. A route is named by its pattern, so that ids make no new series."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

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
            self._metrics.answered(scope["method"], route, status, time.perf_counter() - start)
