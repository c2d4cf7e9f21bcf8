"""The client: calls one handler by one plan, from a process of its own.

    python -m benchmarks.cookbook.client < JOB

The job is JSON with the fields of `Job`. The result is one line of JSON: `calls`, a list with
one list [start_s, accept_s, result_s, inside_s, status, error] for each call, `cpu_s` and `wall_s`.

The client speaks HTTP/1.1 on bare asyncio transports with uvloop. Each call opens a connection,
as the cookbook's client did.
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
from typing import Any, TypeAlias

import uvloop

from benchmarks.speed.load import Connection

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
        head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._post = head.encode() + body
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
        answer = await self._ask(connection, 200, self._post)
        accepted.append(time.perf_counter() - start)
        if not answer["results"] or not answer["image"]:
            raise Failed("the answer has no detections or no drawing")
        return float(answer["process_time"])

    async def _queue(self, connection: Connection, start: float, accepted: list[float]) -> float:
        answer = await self._ask(connection, 202, self._post)
        accepted.append(time.perf_counter() - start)
        path = f"/v1/predictions/{answer['id']}?wait={POLL_S}"
        poll = f"GET {path} HTTP/1.1\r\nHost: {self._job.host}:{self._job.port}\r\n\r\n".encode()
        while not answer["completed_at"]:
            answer = await self._ask(connection, 200, poll)
        if answer["status"] != "succeeded" or not answer["output"]["predictions"]:
            raise Failed(f"the prediction ended as {answer['status']}, or has no detections")
        return float(answer["metrics"]["predict_time"])

    async def _ask(self, connection: Connection, wanted: int, request: bytes) -> dict[str, Any]:
        async with asyncio.timeout(self._job.timeout_s):
            status, body = await connection.call(request)
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
