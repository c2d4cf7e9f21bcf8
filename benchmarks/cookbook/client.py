"""The client: calls one handler by one plan, from a process of its own.

    python -m benchmarks.cookbook.client < JOB

The job is JSON with the fields of `Job`. The result is one line of JSON: `calls`, a list with
one list [start_s, accept_s, result_s, inside_s, status, error] for each call, `cpu_s` and `wall_s`.

The client speaks HTTP/1.1 on bare asyncio transports with uvloop. Each call opens a connection,
as the cookbook's client did. Only answers with a Content-Length are understood.
"""

import asyncio
import base64
import contextlib
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import uvloop

Call: TypeAlias = list[Any]
POLL_S = 20
"""The seconds for which one question for a result waits."""


@dataclass(frozen=True)
class Job:
    """Calls of one session."""

    queue: bool
    """Calls go to the service of this project; otherwise to a recipe."""
    host: str
    port: int
    image: str
    """The path of a JPEG."""
    delays: list[float]
    """The seconds before each call, from the session's start."""
    serial: bool
    """Each call waits for the end of the one before."""
    timeout_s: float
    """A request without a whole answer after so many seconds fails, and its call with it."""
    model: str = ""
    """The model's name, for the service."""


class Failed(Exception):
    """An answer that is no success."""


class Connection(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self) -> None:
        self._answer = bytearray()
        self._needed = 0  # bytes of the head and the body; 0 while the head is not read
        self._done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._needed:
            end = self._answer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._answer[:end]).lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._needed = end + 4 + int(length or 0)
        if len(self._answer) >= self._needed and self._done and not self._done.done():
            self._done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if self._done and not self._done.done():
            self._done.set_exception(error or ConnectionResetError("the server closed it"))

    async def ask(self, *request: bytes) -> tuple[int, bytes]:
        """Send a request; return the status and the body. Raises OSError."""
        self._answer.clear()
        self._needed = 0
        self._done = asyncio.get_running_loop().create_future()
        self._transport.writelines(request)
        await self._done
        head, _, body = bytes(self._answer).partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), body

    def close(self) -> None:
        self._transport.close()


class Caller:
    """Makes the calls of one job."""

    def __init__(self, job: Job, image: bytes) -> None:
        self._job = job
        path, kind, body = (
            (f"/v1/predictions?model={job.model}", "image/jpeg", image)
            if job.queue
            else ("/", "application/json", b'{"image": "%s"}' % base64.b64encode(image))
        )
        head = f"POST {path} HTTP/1.1\r\nHost: {job.host}:{job.port}\r\n"
        self._post = f"{head}Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        self._body = body
        self._way = self._queue if job.queue else self._recipe
        self._start = 0.0

    async def run(self) -> list[Call]:
        """Make all calls; their results are in the order of the calls."""
        self._start = time.perf_counter()
        job = self._job
        if job.serial:
            return [await self._call(self._way, delay) for delay in job.delays]
        calls = [self._call(self._way, delay) for delay in job.delays]
        return list(await asyncio.gather(*calls))

    async def _call(self, way: Callable[..., Awaitable[float]], delay: float) -> Call:
        if delay:
            await asyncio.sleep(self._start + delay - time.perf_counter())
        start, accepted = time.perf_counter(), list[float]()
        connection, inside, status, error = None, None, "ok", ""
        try:
            async with asyncio.timeout(self._job.timeout_s):
                _, connection = await asyncio.get_running_loop().create_connection(
                    Connection, self._job.host, self._job.port
                )
            inside = await way(connection, start, accepted)
        except TimeoutError:
            status = "timeout"
        except (Failed, OSError) as problem:
            status, error = "error", f"{type(problem).__name__}: {problem}"[:200]
        finally:
            if connection:
                connection.close()
        end = time.perf_counter() - start
        return [
            round(start - self._start, 4),
            round(accepted[0], 4) if accepted else None,
            round(end, 4),
            None if inside is None else round(inside, 4),
            status,
            error,
        ]

    async def _recipe(self, connection: Connection, start: float, accepted: list[float]) -> float:
        """The seconds inside. The first sign of acceptance is the result itself."""
        answer = await self._ask(connection, 200, self._post, self._body)
        accepted.append(time.perf_counter() - start)
        if not answer["results"] or not answer["image"]:
            raise Failed("the answer has no detections or no drawing")
        return float(answer["process_time"])

    async def _queue(self, connection: Connection, start: float, accepted: list[float]) -> float:
        answer = await self._ask(connection, 202, self._post, self._body)
        accepted.append(time.perf_counter() - start)
        path = f"/v1/predictions/{answer['id']}?wait={POLL_S}"
        poll = f"GET {path} HTTP/1.1\r\nHost: {self._job.host}:{self._job.port}\r\n\r\n".encode()
        while not answer["completed_at"]:
            answer = await self._ask(connection, 200, poll)
        if answer["status"] != "succeeded" or not answer["output"]["predictions"]:
            raise Failed(f"the prediction ended as {answer['status']}, or has no detections")
        return float(answer["metrics"]["predict_time"])

    async def _ask(self, connection: Connection, wanted: int, *request: bytes) -> dict[str, Any]:
        async with asyncio.timeout(self._job.timeout_s):
            status, body = await connection.ask(*request)
        if status != wanted:
            raise Failed(f"{status} {body[:160].decode(errors='replace')}")
        parsed: dict[str, Any] = json.loads(body)
        return parsed


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    job = Job(**json.load(sys.stdin))
    with open(job.image, "rb") as file:  # noqa: PTH123  the import of pathlib costs more
        image = file.read()
    start, used = time.perf_counter(), time.process_time()
    calls = uvloop.run(Caller(job, image).run())
    cpu_s, wall_s = time.process_time() - used, time.perf_counter() - start
    print(json.dumps({"calls": calls, "cpu_s": cpu_s, "wall_s": wall_s}))


if __name__ == "__main__":
    main()
