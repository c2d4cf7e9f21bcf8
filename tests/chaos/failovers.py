"""Failovers under load: two Redis, three Sentinels, a live stack, and a count of what is lost.

    python -m tests.chaos --sentinel --failovers 20 --min-replicas 1

Clients submit all the while. Each failover is one of three kinds: `planned` by a Sentinel, after a
`kill` of the primary, or after a `freeze`. A frozen primary thaws as one that takes writes, with
what clients had sent to it. At the end each prediction that was answered 202 is looked at.
"""

import asyncio
import itertools
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from sluice.local.config import ALL_PARTS
from sluice.local.stack import Stack, StackConfig
from tests.support.failover import Watched, watched
from tests.support.paths import ROOT

KINDS = ("planned", "kill", "freeze")
_CLIENTS = 6
_EVERY_S = 0.2
_PAUSE_S = 2.0
_END_WITHIN_S = 90.0
_TERMINAL = {"succeeded", "failed", "canceled", "aborted"}
_QUICK = {
    "SLUICE_QUEUE_LEASE_S": "3",
    "SLUICE_QUEUE_SWEEP_INTERVAL_S": "0.5",
    "SLUICE_REDIS_WORKER_TIMEOUT_S": "3",
}


@dataclass
class Report:
    """The counts of one run."""

    answers: Counter[int] = field(default_factory=Counter)
    """Answers to submissions, by status; 0 where there was none."""
    accepted: set[str] = field(default_factory=set)
    lost: dict[str, str] = field(default_factory=dict)
    """Accepted predictions that did not succeed, with what the last look showed."""
    accepts_after_s: list[float] = field(default_factory=list)
    """For each failover, the time from the new primary to the next 202."""
    works_after_s: list[float] = field(default_factory=list)
    """For each failover, the time until a prediction that came after it had succeeded."""

    def lines(self) -> list[str]:
        """The counts for people."""
        answers = ", ".join(
            f"{count} of {status}" for status, count in sorted(self.answers.items())
        )
        return [
            f"answers to submissions: {answers}",
            f"accepted: {len(self.accepted)}, lost: {len(self.lost)} {Counter(self.lost.values())}",
            _times("202 after the new primary", self.accepts_after_s),
            _times("a result after the new primary", self.works_after_s),
        ]


def _times(what: str, seconds: list[float]) -> str:
    if not seconds:
        return f"{what}: never"
    return f"{what}: median {median(seconds):.1f} s, worst of {len(seconds)} {max(seconds):.1f} s"


class Failovers:
    """One run; `say` is given lines for people. The stack's logs are in `workdir/state`."""

    def __init__(
        self,
        workdir: Path,
        *,
        count: int,
        min_replicas: int,
        say: Callable[[str], None],
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._workdir = workdir
        self._count = count
        self._min_replicas = min_replicas
        self._say = say
        self._env = {**_QUICK, "SLUICE_QUEUE_MIN_REPLICAS": str(min_replicas), **(env or {})}
        self._numbers = itertools.count()
        self._stop = False
        self._image = (ROOT / "samples" / "desk.jpg").read_bytes()
        self.report = Report()

    def run(self) -> Report:
        """Do the whole run. Raises LocalStackError, or AssertionError where no failover happens."""
        with watched(self._workdir / "redis") as servers:
            config = StackConfig(
                state=self._workdir / "state",
                port=0,
                workers=2,
                concurrency=2,
                env={**self._env, "SLUICE_REDIS_URL": servers.url, "SLUICE_BLOBS_URL": servers.url},
                parts=ALL_PARTS - {"redis"},
            )
            with Stack(config) as stack:
                asyncio.run(self._drive(servers, stack.addresses.api))
        return self.report

    async def _drive(self, servers: Watched, api: str) -> None:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(base_url=api, limits=limits, timeout=10) as http:
            clients = [asyncio.create_task(self._client(http)) for _ in range(_CLIENTS)]
            for number in range(self._count):
                await asyncio.sleep(_PAUSE_S)
                await self._fail_over(servers, KINDS[number % len(KINDS)], http)
            await asyncio.sleep(_PAUSE_S)
            self._stop = True
            await asyncio.gather(*clients)
            await self._look(http)

    async def _client(self, http: httpx.AsyncClient) -> None:
        """Submit under ids of the service and of its own in turn."""
        while not self._stop:
            number = next(self._numbers)
            name = f"failover-{number}" if number % 2 else None
            while not await self._submit(http, name) and name and not self._stop:
                await asyncio.sleep(0.1)
            await asyncio.sleep(_EVERY_S)

    async def _submit(
        self, http: httpx.AsyncClient, name: str | None, **options: str
    ) -> str | None:
        method, path = ("PUT", f"/v1/predictions/{name}") if name else ("POST", "/v1/predictions")
        headers = {"Content-Type": "image/jpeg"}
        try:
            answer = await http.request(
                method, path, params=options, content=self._image, headers=headers
            )
        except httpx.HTTPError:
            self.report.answers[0] += 1
            return None
        self.report.answers[answer.status_code] += 1
        if answer.status_code != 202:
            return None
        accepted = str(answer.json()["id"])
        self.report.accepted.add(accepted)
        return accepted

    async def _fail_over(self, servers: Watched, kind: str, http: httpx.AsyncClient) -> None:
        port = servers.primary()
        old = next(server for server in servers.pair.servers if server.port == port)
        if kind == "planned":
            at = await asyncio.to_thread(servers.fail_over)
        elif kind == "kill":
            old.kill()
            at = await asyncio.to_thread(servers.until_elsewhere, port)
            await asyncio.to_thread(old.start)
        else:
            os.kill(old.pid, signal.SIGSTOP)
            at = await asyncio.to_thread(servers.until_elsewhere, port)
            os.kill(old.pid, signal.SIGCONT)
        if self._min_replicas:  # nothing is accepted before the new primary has a replica
            await asyncio.to_thread(servers.until_whole)
            at = time.monotonic()
        await self._measure(kind, at, http)
        await asyncio.to_thread(servers.until_whole)

    async def _measure(self, kind: str, at: float, http: httpx.AsyncClient) -> None:
        """Measure until a submission is accepted, and until it has succeeded."""
        accepted = None
        while accepted is None and time.monotonic() - at < _END_WITHIN_S:
            accepted = await self._submit(http, None, priority="high")  # before the backlog
            await asyncio.sleep(0.02)
        accepted_s = time.monotonic() - at
        if accepted is None or not await self._succeeds(http, accepted):
            self._say(f"{kind}: a prediction accepted after {accepted_s:.1f} s was lost")
            return
        works_s = time.monotonic() - at
        self.report.accepts_after_s.append(accepted_s)
        self.report.works_after_s.append(works_s)
        self._say(f"{kind}: accepted after {accepted_s:.1f} s, a result after {works_s:.1f} s")

    async def _succeeds(self, http: httpx.AsyncClient, name: str) -> bool:
        end = time.monotonic() + _END_WITHIN_S
        while time.monotonic() < end:
            status = await self._status(http, name)
            if status in _TERMINAL or status == "404":
                return status == "succeeded"
            await asyncio.sleep(0.05)
        return False

    async def _status(self, http: httpx.AsyncClient, name: str) -> str:
        """The status of a prediction, its error's code, or the status of the answer."""
        try:
            answer = await http.get(f"/v1/predictions/{name}")
        except httpx.HTTPError as error:
            return type(error).__name__
        if answer.status_code != 200:
            return str(answer.status_code)
        body: Mapping[str, Any] = json.loads(answer.text)
        return str(body.get("error_code") or body["status"])

    async def _look(self, http: httpx.AsyncClient) -> None:
        """Wait until all that was accepted has ended, and keep what did not succeed."""
        end = time.monotonic() + _END_WITHIN_S
        left = dict.fromkeys(sorted(self.report.accepted), "")
        while left and time.monotonic() < end:
            for name in list(left):
                left[name] = await self._status(http, name)
                if left[name] == "succeeded":
                    del left[name]
            if left and all(status not in ("starting", "processing") for status in left.values()):
                break
            await asyncio.sleep(0.5)
        self.report.lost = left
