"""`sluice load`: many submissions at once, to see how a service takes them, and how it scales."""

import asyncio
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "desk.jpg"
_LONGEST_POLL_S = 20.0
_AGAIN_S = 1.0  # after no answer at all


@dataclass
class LoadTest:
    """`count` submissions of `image` by `concurrency` clients, each of which waits as long as it is told to when it is refused.

    Afterwards `ends` counts statuses, `answers` HTTP statuses of submissions (0: no
    answer), and `accept_s` holds the seconds that each 202 took.
    """

    http: httpx.AsyncClient
    image: bytes
    count: int
    concurrency: int
    sent: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    accept_s: list[float] = field(default_factory=list)

    async def run(self) -> None:
        """Raises httpx.HTTPStatusError where a submission is refused for good, such as for a wrong key."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self.concurrency):
                group.create_task(self._client())

    async def _client(self) -> None:
        while self.sent < self.count:
            self.sent += 1
            prediction_id = await self._submit()
            self.ends[await self._end(prediction_id)] += 1

    async def _submit(self) -> str:
        # The id that every try has, so that one whose answer was lost is not two.
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
                await asyncio.sleep(_AGAIN_S)
                continue
            self.answers[answer.status_code] += 1
            if answer.status_code in (429, 503):
                await asyncio.sleep(float(answer.headers.get("Retry-After", _AGAIN_S)))
                continue
            answer.raise_for_status()
            self.accept_s.append(time.perf_counter() - start)
            return str(answer.json()["id"])

    async def _end(self, prediction_id: str) -> str:
        while True:
            try:
                answer = await self.http.get(
                    f"/v1/predictions/{prediction_id}", params={"wait": _LONGEST_POLL_S}
                )
            except httpx.TransportError:
                await asyncio.sleep(_AGAIN_S)
                continue
            if answer.status_code in (429, 503):
                await asyncio.sleep(_AGAIN_S)
                continue
            answer.raise_for_status()
            if (found := answer.json())["completed_at"]:
                return str(found["status"])


def load(
    url: Annotated[str, typer.Option(help="The service.")] = "http://127.0.0.1:8080",
    count: Annotated[int, typer.Option(min=1, help="Submissions in all.")] = 1000,
    concurrency: Annotated[
        int,
        typer.Option(min=1, max=1000, help="Clients; each waits for its result before the next."),
    ] = 50,
    image: Annotated[Path, typer.Option(exists=True, dir_okay=False)] = SAMPLE,
    key: Annotated[
        str | None, typer.Option(envvar="SLUICE_API_KEY", help="Where the service asks for one.")
    ] = None,
) -> None:
    """Submit many images at once; show how fast they were accepted and how they ended."""
    console = Console()
    start = time.perf_counter()
    try:
        done = asyncio.run(_show(url, key, image.read_bytes(), count, concurrency, console))
    except* httpx.HTTPStatusError as group:
        error = group.exceptions[0]
        assert isinstance(error, httpx.HTTPStatusError)
        Console(stderr=True).print(f"error: {escape(error.response.text)}", style="bold red")
        raise typer.Exit(1) from None
    took_s = time.perf_counter() - start
    times = sorted(done.accept_s)
    console.print(f"{count} in {took_s:.1f} s: {count / took_s:.1f} a second")
    console.print(
        f"accepted in {times[len(times) // 2] * 1000:.0f} ms, 99 % below {times[len(times) * 99 // 100] * 1000:.0f} ms"
    )
    console.print(
        "ended: " + ", ".join(f"{number} {status}" for status, number in done.ends.most_common())
    )
    if again := sum(number for status, number in done.answers.items() if status not in (201, 202)):
        console.print(f"refused or unanswered meanwhile, and tried again: {again}")


async def _show(
    url: str, key: str | None, image: bytes, count: int, concurrency: int, console: Console
) -> LoadTest:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_connections=concurrency)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=_LONGEST_POLL_S + 10, limits=limits
    ) as http:
        done = LoadTest(http, image, count, concurrency)
        with Progress(*columns, console=console) as progress:
            sent, ended = (
                progress.add_task("submitted", total=count),
                progress.add_task("ended", total=count),
            )
            running = asyncio.create_task(done.run())
            while not running.done():
                await asyncio.wait([running], timeout=0.2)
                progress.update(sent, completed=len(done.accept_s))
                progress.update(ended, completed=done.ends.total())
            await running
    return done
