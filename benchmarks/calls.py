"""The api's own processor time of a submission and of a read, against a bare handler.

`python -m benchmarks.calls` needs no server: uvicorn's protocol has a transport in memory, and
Redis's answers are at hand. The bare handler reads the body and answers through the same protocol.
The calls take turns, so that a busy machine slows all of them.
"""

import asyncio
import contextlib
import json
import statistics
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import anyio
import hiredis
import uvicorn
import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send

from api.app import create_app
from api.connection import Connection, State
from api.deps import Services
from api.fast_path import FastPath
from api.traffic.load import QueueLoadCache
from benchmarks.common import IMAGE
from sluice.access.keys import Keys
from sluice.intake.fast import FastIntake
from sluice.intake.intake import Intake
from sluice.ledger.predictions import RedisLedger
from sluice.ledger.reads import AsyncReads
from sluice.metrics.observer import Observer
from sluice.outbound.guard import Guard
from sluice.redisio.multiplexed import MultiplexedConnection
from sluice.settings import Settings
from tests.fakes.batches import MemoryBatches
from tests.fakes.blobs import MemoryBlobs
from tests.fakes.catalog import MemoryCatalog
from tests.fakes.deliveries import MemoryDeliveries, MemorySecrets
from tests.fakes.doorbell import CountingDoorbell
from tests.fakes.events import MemoryEvents
from tests.fakes.files import MemoryFiles
from tests.fakes.history import MemoryHistory
from tests.fakes.ledger import MemoryLedger
from tests.fakes.ratelimit import MemoryRateLimiter
from tests.fakes.state import MemoryState
from tests.fakes.timeline import MemoryTimeline

_ROUNDS, _CALLS = 40, 100
_BOX = {"x": 100.5, "y": 200.25, "width": 50.1, "height": 60.7, "confidence": 0.8123}
_OUTPUT = {
    "image": {"width": 810, "height": 1080},
    "predictions": [
        {**_BOX, "class": "qr", "class_id": 0, "detection_id": f"{number}"} for number in range(5)
    ],
}
_RECORD = {
    "model": "codes",
    "status": "succeeded",
    "parameters": "{}",
    "key": "default",
    "priority": "normal",
    "digest": "",
    "created_at": "1700000000.1",
    "started_at": "1700000000.2",
    "completed_at": "1700000000.3",
    "attempts": "1",
    "logs": "attempt 1: decode 2 ms, letterbox 1 ms, inference 9 ms",
    "metrics": '{"queue_time": 0.001, "decode_time": 0.002, "predict_time": 0.02}',
    "output": json.dumps(_OUTPUT),
}
_FLAT = [part.encode() for pair in _RECORD.items() for part in pair]


class _Answers:
    """A connection to Redis that packs the commands and has the answers at hand."""

    async def send(self, *commands: tuple[Any, ...]) -> list[Any]:
        for command in commands:
            hiredis.pack_command(command)
        await asyncio.sleep(0)
        if commands[0][0] == "HGETALL":
            return [_FLAT, None]
        return [b"OK", [b"1700000000.1", 1]]


class _Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """The data come in one piece."""

    def resume_reading(self) -> None:
        """The data come in one piece."""


class _Client:
    """One kept connection to an application."""

    def __init__(self, app: ASGIApp, request: bytes, status: bytes) -> None:
        config = uvicorn.Config(app, http=Connection, log_config=None, lifespan="off")
        config.load()
        self._request, self._status = request, status
        self._transport = _Transport()
        self._connection = Connection(config, State(100), {})
        self._connection.connection_made(self._transport)

    async def call(self) -> None:
        self._transport.written.clear()
        self._connection.data_received(self._request)
        while not self._connection.cycle.response_complete:  # noqa: ASYNC110 - one turn at a time
            await asyncio.sleep(0)
        assert self._transport.written[0].startswith(b"HTTP/1.1 " + self._status)


@contextlib.asynccontextmanager
async def _services(settings: Settings) -> AsyncIterator[Services]:
    ledger, blobs, connection = (
        MemoryLedger(),
        MemoryBlobs(),
        cast(MultiplexedConnection, _Answers()),
    )
    intake = Intake(ledger, blobs, CountingDoorbell(), blob_ttl_s=60, orphan_ttl_s=10)
    yield Services(
        settings=settings,
        ledger=ledger,
        blobs=blobs,
        intake=intake,
        events=MemoryEvents(),
        catalog=MemoryCatalog(available=False),
        keys=Keys(None),
        limiter=MemoryRateLimiter(),
        history=MemoryHistory(ledger),
        guard=Guard(),
        queue_load=QueueLoadCache(ledger),
        fast_intake=FastIntake(
            RedisLedger(cast(Any, None), settings.queue),
            connection,
            None,
            blob_ttl_s=60,
            ring=lambda prediction_id: None,
            expire_orphan=lambda blob_key: None,
        ),
        async_reads=AsyncReads(connection, settings.queue.name),
        deliveries=MemoryDeliveries(),
        secrets=MemorySecrets(),
        batches=MemoryBatches(ledger),
        timeline=MemoryTimeline(ledger),
        batch_slots=anyio.CapacityLimiter(1),
        files=MemoryFiles(),
        observer=Observer(ledger, MemoryState(), {}),
    )


async def _bare(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _compare() -> None:
    app = create_app(Settings(), _services)
    submission = (
        b"POST /v1/predictions HTTP/1.1\r\nHost: a\r\nContent-Type: image/jpeg\r\n"
        b"Content-Length: %d\r\n\r\n" % len(IMAGE)
    ) + IMAGE
    read = b"GET /v1/predictions/a HTTP/1.1\r\nHost: a\r\n\r\n"
    async with app.router.lifespan_context(app):
        clients = {
            "bare": _Client(_bare, submission, b"202"),
            "submission": _Client(FastPath(app), submission, b"202"),
            "read": _Client(FastPath(app), read, b"200"),
            "read, without the fast path": _Client(app, read, b"200"),
        }
        times: dict[str, list[float]] = {name: [] for name in clients}
        for _ in range(_ROUNDS):
            for name, client in clients.items():
                start = time.process_time()
                for _ in range(_CALLS):
                    await client.call()
                times[name].append((time.process_time() - start) / _CALLS * 1e6)
    bare_us = statistics.median(times["bare"])
    for name, values in times.items():
        median_us = statistics.median(values)
        print(f"{name:28} {median_us:6.0f} µs, {median_us / bare_us:5.1f} bare handlers")


def main() -> None:
    """Print the median microseconds of processor time, and their ratios to the bare handler."""
    uvloop.run(_compare())


if __name__ == "__main__":
    main()
