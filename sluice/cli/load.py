"""`sluice load`: many submissions at once, to see how a service accepts them and scales."""

import asyncio
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from sluice.cli.console import fail, progress
from sluice.cli.service import URL, AsJson, Key, Url, print_json
from sluice.local.paths import SAMPLES

_LONGEST_POLL_S = 20.0
_RETRY_S = 1.0  # the wait after a lost answer, or without a Retry-After header


@dataclass
class LoadTest:
    """Submits one image again and again, from several clients.

    A client waits for the end of its prediction before its next submission. A refused client
    waits as long as the Retry-After header says.
    """

    http: httpx.AsyncClient
    """The connection to the service."""

    image: bytes
    """The image to submit."""

    count: int
    """The number of predictions."""

    concurrency: int
    """The number of clients."""

    sent: int = 0
    """Predictions that a client has begun to submit."""

    ends: Counter[str] = field(default_factory=Counter)
    """The number of predictions by final status."""

    answers: Counter[int] = field(default_factory=Counter)
    """The number of submissions by HTTP status. 0: no answer."""

    accept_s: list[float] = field(default_factory=list)
    """The seconds of each accepted submission."""

    async def run(self) -> None:
        """Run all clients to their end.

        Raises httpx.HTTPStatusError when the service refuses for good, such as for a wrong key.
        """
        async with asyncio.TaskGroup() as group:
            for _ in range(self.concurrency):
                group.create_task(self._client())

    async def _client(self) -> None:
        while self.sent < self.count:
            self.sent += 1
            prediction_id = await self._submit()
            self.ends[await self._final_status(prediction_id)] += 1

    async def _submit(self) -> str:
        # All tries share one idempotency key. A lost answer does not lead to a second prediction.
        headers = {
            "Content-Type": "application/octet-stream",
            "Idempotency-Key": secrets.token_hex(16),
        }
        while True:
            start = time.perf_counter()
            try:
                answer = await self.http.post(
                    "/v1/predictions", content=self.image, headers=headers
                )
            except httpx.TransportError:
                self.answers[0] += 1
                await asyncio.sleep(_RETRY_S)
                continue
            self.answers[answer.status_code] += 1
            if answer.status_code in (429, 503):
                await asyncio.sleep(float(answer.headers.get("Retry-After", _RETRY_S)))
                continue
            answer.raise_for_status()
            self.accept_s.append(time.perf_counter() - start)
            return str(answer.json()["id"])

    async def _final_status(self, prediction_id: str) -> str:
        while True:
            try:
                answer = await self.http.get(
                    f"/v1/predictions/{prediction_id}", params={"wait": _LONGEST_POLL_S}
                )
            except httpx.TransportError:
                await asyncio.sleep(_RETRY_S)
                continue
            if answer.status_code in (429, 503):
                await asyncio.sleep(_RETRY_S)
                continue
            answer.raise_for_status()
            prediction = answer.json()
            if prediction["completed_at"]:
                return str(prediction["status"])


def load(
    count: Annotated[int, typer.Option(min=1, help="The number of submissions.")] = 1000,
    concurrency: Annotated[
        int,
        typer.Option(
            min=1,
            max=1000,
            help="Clients. Each waits for its result before its next submission.",
        ),
    ] = 50,
    image: Annotated[
        Path,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="The image to submit.",
            show_default="a photo that comes with Sluice",
        ),
    ] = SAMPLES / "desk.jpg",
    as_json: AsJson = False,
    url: Url = URL,
    key: Key = None,
) -> None:
    """Submit many images at once; show how fast they were accepted and how they ended.

    Example: sluice load --count 500 --concurrency 20
    """
    console = Console(stderr=as_json)
    refusal = ""
    start = time.perf_counter()
    try:
        test = asyncio.run(_run(url, key, image.read_bytes(), count, concurrency, console))
    except* httpx.HTTPStatusError as group:
        error = group.exceptions[0]
        assert isinstance(error, httpx.HTTPStatusError)
        refusal = error.response.text
    if refusal:  # an exit inside `except*` would become a group, and print a traceback
        fail(refusal)
    if as_json:
        print_json(_summary(test, time.perf_counter() - start))
    else:
        _report(test, time.perf_counter() - start, console)


async def _run(
    url: str, key: str | None, image: bytes, count: int, concurrency: int, console: Console
) -> LoadTest:
    """Run a test to its end, with two progress bars."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_connections=concurrency)
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=_LONGEST_POLL_S + 10, limits=limits
    ) as http:
        test = LoadTest(http, image, count, concurrency)
        with progress(console) as bars:
            submitted = bars.add_task("submitted", total=count)
            ended = bars.add_task("ended", total=count)
            running = asyncio.create_task(test.run())
            while not running.done():
                await asyncio.wait([running], timeout=0.2)
                bars.update(submitted, completed=len(test.accept_s))
                bars.update(ended, completed=test.ends.total())
            await running
    return test


def _summary(test: LoadTest, seconds: float) -> dict[str, Any]:
    median_ms, p99_ms = _times_ms(test)
    return {
        "count": test.count,
        "seconds": round(seconds, 3),
        "per_s": round(test.count / seconds, 3),
        "accept_median_ms": round(median_ms, 1),
        "accept_p99_ms": round(p99_ms, 1),
        "ends": dict(test.ends),
        "answers": {str(status): number for status, number in test.answers.items()},
    }


def _times_ms(test: LoadTest) -> tuple[float, float]:
    """The median and the 99th percentile of the accepted submissions."""
    times_ms = sorted(taken_s * 1000 for taken_s in test.accept_s)
    return times_ms[len(times_ms) // 2], times_ms[len(times_ms) * 99 // 100]


def _report(test: LoadTest, seconds: float, console: Console) -> None:
    median_ms, p99_ms = _times_ms(test)
    ends = ", ".join(f"{number} {status}" for status, number in test.ends.most_common())
    console.print(f"{test.count} in {seconds:.1f} s: {test.count / seconds:.1f} per second")
    console.print(f"accepted in {median_ms:.0f} ms (median), 99 % below {p99_ms:.0f} ms")
    console.print(f"ended: {ends}")
    retries = sum(number for status, number in test.answers.items() if status not in (201, 202))
    if retries:
        console.print(f"refused or unanswered at first, and submitted again: {retries}")
