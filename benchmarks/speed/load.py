"""Sends load from a process of its own, and follows each call to its result.

    python -m benchmarks.speed.load < JOB

The job is JSON, with the fields of `Job`. The answer is one line of JSON:

    seconds     of the whole run
    accept_s    a list: the seconds from a call's start to its acceptance
    total_s     a list: the seconds from a call's start to its result
    failed      a list: the answers of the calls that failed
    sample      the text of one result
    cpu_s       the processor time of this process

The clients speak HTTP/1.1 on bare asyncio transports with uvloop. Each client waits for its result
before its next call.
"""

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httptools
import uvloop

from sluice.local.paths import CHECKOUT

_SHOWN = 300


@dataclass(frozen=True)
class Job:
    """One run of load."""

    port: int
    path: str
    """The target of POST."""
    file: str
    """The path of the request's body."""
    clients: int
    count: int
    """The number of calls."""
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "image/jpeg"})
    poll: str = ""
    """The path of a result, with `{id}`. Empty: the answer to POST is the result."""
    poll_every_s: float = 0.0
    """The pause between two looks at a result. 0 suits a server that holds the answer back."""
    done: str = '"status":"succeeded"'
    """The text that only a good result holds, after blanks are removed."""
    pending: tuple[str, ...] = ('"status":"starting"', '"status":"processing"')
    """The texts of a result that is not there yet."""
    follow: bool = True
    """Wait for the results. Otherwise only acceptance is timed."""
    fresh: bool = False
    """A connection for each call."""
    host: str = "127.0.0.1"


class Answer(NamedTuple):
    status: int
    body: bytes


class Connection(asyncio.Protocol):
    """One HTTP connection with one call at a time."""

    @classmethod
    async def open(cls, job: Job) -> "Connection":
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(cls, job.host, job.port))[1]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    async def call(self, request: bytes) -> Answer:
        self._answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._parser, self._body = httptools.HttpResponseParser(self), bytearray()
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 and not self._answer.done():  # done: the caller has given up
            self._answer.set_result(Answer(status, bytes(self._body)))

    def connection_lost(self, error: Exception | None) -> None:
        if hasattr(self, "_answer") and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("closed by the server"))

    def close(self) -> None:
        self._transport.close()


class Run:
    """All clients of one job, and the times so far."""

    def __init__(self, job: Job) -> None:
        body = Path(job.file).read_bytes()
        self._job = job
        self._post = self._request("POST", job.path, job.headers, len(body)) + body
        self._left = job.count
        self.accept_s: list[float] = []
        self.total_s: list[float] = []
        self.failed: list[str] = []
        self.sample = ""

    async def run(self) -> dict[str, Any]:
        start = time.perf_counter()
        await asyncio.gather(*(self._client() for _ in range(self._job.clients)))
        return {
            "seconds": time.perf_counter() - start,
            "accept_s": self.accept_s,
            "total_s": self.total_s,
            "failed": self.failed,
            "sample": self.sample,
            "cpu_s": time.process_time(),
        }

    async def _client(self) -> None:
        connection: Connection | None = None
        while self._left > 0:
            self._left -= 1
            start = time.perf_counter()
            try:
                if connection is None or self._job.fresh:
                    connection = await Connection.open(self._job)
                await self._one(connection, start)
            except OSError as error:
                self.failed.append(repr(error))
                connection = None
        if connection:
            connection.close()

    async def _one(self, connection: Connection, start: float) -> None:
        answer = await connection.call(self._post)
        self.accept_s.append(time.perf_counter() - start)
        if answer.status >= 300:
            self.failed.append(f"{answer.status} {answer.body[:_SHOWN]!r}")
            return
        if not self._job.follow:
            return
        if self._job.poll:
            answer = await self._result(connection, json.loads(answer.body)["id"])
        self.total_s.append(time.perf_counter() - start)
        if answer.status >= 300 or self._job.done not in _dense(answer):
            self.failed.append(f"{answer.status} {answer.body[:_SHOWN]!r}")
        self.sample = answer.body.decode()

    async def _result(self, connection: Connection, call_id: str) -> Answer:
        request = self._request("GET", self._job.poll.replace("{id}", call_id), {}, 0)
        while True:
            answer = await connection.call(request)
            if answer.status != 202 and not any(
                text in _dense(answer) for text in self._job.pending
            ):
                return answer
            await asyncio.sleep(self._job.poll_every_s)

    def _request(self, method: str, path: str, headers: dict[str, str], length: int) -> bytes:
        lines = {"Host": f"{self._job.host}:{self._job.port}", "Content-Length": str(length)}
        text = "".join(f"{name}: {value}\r\n" for name, value in (lines | headers).items())
        return f"{method} {path} HTTP/1.1\r\n{text}\r\n".encode()


def _dense(answer: Answer) -> str:
    return answer.body.decode().replace(" ", "")


def send(job: Job, timeout_s: float = 120) -> dict[str, Any]:
    """Run the job in a process of its own. Raises RuntimeError when a call fails."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed.load"],
        input=json.dumps(asdict(job)),
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the load ended with {done.returncode}: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    if result["failed"]:
        failed = result["failed"]
        raise RuntimeError(f"{len(failed)} of {job.count} calls failed, such as {failed[0]}")
    return result


if __name__ == "__main__":
    print(json.dumps(uvloop.run(Run(Job(**json.load(sys.stdin))).run())))
