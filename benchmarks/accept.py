"""The cost of accepting a 100 kB JPEG: one api process, against a bare Starlette handler.

The bare handler does one Redis SET of the same body. Both servers have the same uvicorn settings
and the same Redis, and take turns. No worker runs. `benchmarks/load.py` describes the clients.

A third server only reads the body and answers: its speed shows that the clients are not the limit.

Then follows the api's memory over 20,000 submissions. Accepted predictions are deleted after each
tenth.
"""

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from urllib.parse import urlsplit

import redis
import redis.asyncio
import uvicorn
import uvloop
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.common import client, free_port, process, resident_mb, stack
from benchmarks.speed.processes import cpu_s
from sluice.local.paths import CHECKOUT

SIZE = 100_000
ROUNDS = 7
COUNTS = {1: 300, 8: 600, 32: 600}  # requests in a round, by how many clients send them
TOTAL = int(os.environ.get("ACCEPT_TOTAL", "20000"))
UNBOUNDED_QUEUE = {"SLUICE_QUEUE_MAX_BACKLOG": "1000000", "SLUICE_QUEUE_MAX_BYTES": "10000000000"}
HOST = "127.0.0.1"


def main() -> None:
    with (
        stack("redis", "triton", "api", redis_max_memory="2gb", env=UNBOUNDED_QUEUE) as running,
        client(running) as store,
    ):
        api = urlsplit(running.addresses.api).port
        with (
            _served("bare", running.addresses.redis) as bare,
            _served("nothing", running.addresses.redis) as nothing,
        ):
            servers = {"bare": bare, "api": (api, running.pids["api"]), "nothing": nothing}
            for clients, count in COUNTS.items():
                _compare(store, servers, clients, count)
        for tenth in range(1, 11):
            result = _load(store, api, 8, TOTAL // 10)
            size = resident_mb(running.pids["api"])
            print(
                f"{tenth * TOTAL // 10} accepted, {result['per_s']:.0f}/s:"
                f" the api has {size:.1f} MB",
                flush=True,
            )


def _compare(
    store: "redis.Redis", servers: dict[str, tuple[int, int]], clients: int, count: int
) -> None:
    for port, _ in servers.values():
        _load(store, port, clients, count // 4)
    rounds = [
        {name: _measure(store, *server, clients, count) for name, server in servers.items()}
        for _ in range(ROUNDS)
    ]
    for name in servers:
        per_s, median, p95, cores, cpu = (
            statistics.median(result[name][key] for result in rounds)
            for key in ("per_s", "median_s", "p95_s", "cores", "cpu_s")
        )
        times = f"{median * 1000:.2f} ms, 95 % below {p95 * 1000:.2f} ms"
        print(
            f"{clients} clients, {name}: {per_s:.0f}/s, {times},"
            f" {cpu * 1000:.2f} ms of processor; clients {cores:.2f} of a core",
            flush=True,
        )
    ratios = [result["api"]["per_s"] / result["bare"]["per_s"] for result in rounds]
    costs = [result["bare"]["cpu_s"] / result["api"]["cpu_s"] for result in rounds]
    print(
        f"{clients} clients: ratio of processor time, which other processes disturb less,"
        f" {statistics.median(costs):.2f}",
        flush=True,
    )
    print(
        f"{clients} clients: ratio {statistics.median(ratios):.2f}"
        f" ({min(ratios):.2f} to {max(ratios):.2f})",
        flush=True,
    )


def _measure(
    store: "redis.Redis", port: int, pid: int, clients: int, count: int
) -> dict[str, float]:
    before = cpu_s([pid])
    result = _load(store, port, clients, count)
    return result | {"cpu_s": (cpu_s([pid]) - before) / count}


def _load(store: "redis.Redis", port: int, clients: int, count: int) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.load",
        HOST,
        str(port),
        "/v1/predictions",
        str(clients),
        str(count),
    ]
    done = subprocess.run(
        command, input=_image(), capture_output=True, cwd=CHECKOUT, check=False, timeout=120
    )
    if done.returncode:
        sys.exit(done.stderr.decode())
    # Celery keeps the names of the queues in `_kombu…`, and reads them for each message.
    keys = [key for key in store.scan_iter(count=1000) if not key.startswith(b"_kombu")]
    if keys:
        store.unlink(*keys)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def _image() -> bytes:
    """A photograph as a JPEG of 100 kB."""
    out = BytesIO()
    Image.open(CHECKOUT / "samples" / "bench.jpg").save(out, "JPEG", quality=85)
    return out.getvalue().ljust(SIZE, b"\0")


@contextmanager
def _served(kind: str, redis_url: str) -> Iterator[tuple[int, int]]:
    """Start another server; yields its port and its process id."""
    port = free_port()
    with process("-m", "benchmarks.accept", kind, str(port), redis_url, environment={}) as pid:
        while True:
            try:
                socket.create_connection((HOST, port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port, pid


def _serve(kind: str, port: str, redis_url: str) -> None:
    store = redis.asyncio.Redis.from_url(redis_url)
    number = iter(range(10**9))

    async def bare(request: Request) -> Response:
        await store.set(f"bare:{next(number)}", await request.body())
        return Response(status_code=202)

    app = Starlette(routes=[Route("/v1/predictions", bare, methods=["POST"])])
    if kind == "bare":
        uvicorn.run(app, host=HOST, port=int(port), access_log=False, log_config=None)
    else:
        uvloop.run(_answer_all(int(port)))


async def _answer_all(port: int) -> None:
    """Read each request whole, and answer. No server can do less."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(
                int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            )
            writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")

    async with await asyncio.start_server(serve, HOST, port, limit=1_000_000) as server:
        await server.serve_forever()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
