"""Sends load from a process of its own.

    python -m benchmarks.load HOST PORT PATH CLIENTS COUNT

The request's body comes from stdin; the result is one line of JSON.

The clients speak HTTP/1.1 on bare asyncio transports with uvloop, and keep their connections. Only
answers with a Content-Length are understood. The clients cost so little that the server is the
limit.
"""

import asyncio
import json
import statistics
import sys
import time

import uvloop


class Client(asyncio.Protocol):
    """Sends `request` again and again, and takes one item from `left` each time.

    The seconds of each answer are appended to `taken`. `done` is set when `left` is empty.
    """

    def __init__(
        self, request: bytes, left: list[None], taken: list[float], done: "asyncio.Future[None]"
    ) -> None:
        self._request = request
        self._left = left
        self._taken = taken
        self._done = done
        self._answer = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end or len(body) < int(
            head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        ):
            return
        if not head.startswith(b"HTTP/1.1 202 "):
            self._done.set_exception(
                RuntimeError(f"not accepted: {self._answer.decode(errors='replace')}")
            )
            return
        self._taken.append(time.perf_counter() - self._sent_at)
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(error or RuntimeError("the server closed the connection"))

    def _next(self) -> None:
        self._answer = b""
        if not self._left:
            self._done.set_result(None)
            self._transport.close()
            return
        self._left.pop()
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)


async def load(
    host: str, port: int, path: str, clients: int, count: int, body: bytes
) -> dict[str, float]:
    """Send `count` requests from `clients` connections.

    Returns the requests per second, the seconds of an answer, and the share of a core used here.
    """
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Content-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    loop, left, taken = asyncio.get_running_loop(), [None] * count, list[float]()
    ends = [loop.create_future() for _ in range(clients)]
    start, used = time.perf_counter(), time.process_time()
    for done in ends:
        await loop.create_connection(
            lambda done=done: Client(head.encode() + body, left, taken, done), host, port
        )
    await asyncio.gather(*ends)
    seconds = time.perf_counter() - start
    p95_s = statistics.quantiles(taken, n=20)[-1]
    cores = (time.process_time() - used) / seconds
    return {
        "per_s": count / seconds,
        "median_s": statistics.median(taken),
        "p95_s": p95_s,
        "cores": cores,
    }


if __name__ == "__main__":
    host, port, path, clients, count = sys.argv[1:]
    print(
        json.dumps(
            uvloop.run(
                load(host, int(port), path, int(clients), int(count), sys.stdin.buffer.read())
            )
        )
    )
