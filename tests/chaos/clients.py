"""The clients: their plans are drawn from the seed, and their requests and answers are logged."""

import asyncio
import hashlib
import itertools
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from tests.chaos.cases import Case
from tests.chaos.log import Log

TERMINAL = {"succeeded", "failed", "canceled", "aborted"}
# The time-out of a request, beyond the `wait` that the request asks for.
PATIENCE_S = 10.0
# Predictions that are followed at the same time; further plans are skipped.
AT_ONCE = 150


@dataclass(frozen=True)
class Plan:
    """The requests of one client about one prediction."""

    at_s: float
    id: str | None
    """None: the service names the prediction."""
    case: str
    give_up_s: tuple[float, ...]
    """The time-outs of the first tries; each is repeated under the same id."""
    twin: bool
    """Submit twice at the same time."""
    cancel_after_s: float | None
    other_case: str | None
    """A case to submit under the same id, which must be refused."""
    again_after_s: float | None
    """Submit the same case once more, at any status."""
    wait_s: float
    """The `wait` of each long poll; 0 polls plainly."""


def draw(seed: int, seconds: float, rate: float, cases: Sequence[Case]) -> list[Plan]:
    """Plans at random times, `rate` a second on average."""
    rng = random.Random(f"clients {seed}")
    plans: list[Plan] = []
    at_s = 0.0
    names = [case.name for case in cases]
    while (at_s := at_s + rng.expovariate(rate)) < seconds:
        number = len(plans)
        named = rng.random() < 0.85
        case = rng.choice(names)
        plans.append(
            Plan(
                at_s=round(at_s, 3),
                id=f"chaos-{seed}-{number}" if named else None,
                case=case,
                give_up_s=tuple(
                    round(rng.uniform(0.005, 0.4), 3) for _ in range(rng.choice([0, 0, 0, 1, 2]))
                )
                if named
                else (),
                twin=named and rng.random() < 0.1,
                cancel_after_s=rng.choice(
                    [None, None, None, None, 0.0, round(rng.uniform(0.02, 2.0), 3)]
                ),
                other_case=rng.choice([name for name in names if name != case])
                if named and rng.random() < 0.1
                else None,
                again_after_s=round(rng.uniform(0.1, 5.0), 2)
                if named and rng.random() < 0.15
                else None,
                wait_s=rng.choice([0.0, 1.0, 5.0, 10.0]),
            )
        )
    return plans


@dataclass(frozen=True)
class Answer:
    status: int
    body: Mapping[str, Any]
    """The JSON body, or an empty one."""
    sha: str | None
    """The SHA-256 of a body that is not JSON."""
    retry_after_s: float


class Caller:
    """Sends requests and logs each: `ask`, then `answer` or `silence`, with the same number."""

    def __init__(
        self, http: httpx.AsyncClient, log: Log, cases: Sequence[Case], webhook: str
    ) -> None:
        self._http = http
        self._webhook = webhook
        self._log = log
        self._cases = {case.name: case for case in cases}
        self._numbers = itertools.count(1)
        #: The case of each accepted prediction.
        self.accepted: dict[str, str] = {}

    async def submit(
        self, prediction_id: str | None, name: str, timeout_s: float = PATIENCE_S
    ) -> Answer | None:
        case = self._cases[name]
        method, path = (
            ("PUT", f"/v1/predictions/{prediction_id}")
            if prediction_id
            else ("POST", "/v1/predictions")
        )
        params = {**case.parameters, "webhook": self._webhook}
        request = self._http.build_request(
            method,
            path,
            params=params,
            content=case.image,
            headers={"Content-Type": case.content_type},
        )
        return await self._send(request, timeout_s, op=method.lower(), id=prediction_id, case=name)

    async def get(self, prediction_id: str, wait_s: float = 0.0) -> Answer | None:
        params = {"wait": wait_s} if wait_s else {}
        request = self._http.build_request("GET", f"/v1/predictions/{prediction_id}", params=params)
        return await self._send(request, wait_s + PATIENCE_S, op="get", id=prediction_id)

    async def cancel(self, prediction_id: str) -> Answer | None:
        request = self._http.build_request("POST", f"/v1/predictions/{prediction_id}/cancel")
        return await self._send(request, PATIENCE_S, op="cancel", id=prediction_id)

    async def image(self, prediction_id: str) -> Answer | None:
        request = self._http.build_request("GET", f"/v1/predictions/{prediction_id}/image")
        return await self._send(request, PATIENCE_S, op="image", id=prediction_id)

    async def _send(self, request: httpx.Request, timeout_s: float, **about: Any) -> Answer | None:
        number = next(self._numbers)
        self._log.write("ask", n=number, **about)
        request.extensions["timeout"] = httpx.Timeout(timeout_s).as_dict()
        try:
            # httpx bounds each read and write, and not the whole request.
            async with asyncio.timeout(timeout_s + 5.0):
                response = await self._http.send(request)
        except (httpx.HTTPError, TimeoutError) as error:
            self._log.write("silence", n=number, error=type(error).__name__)
            return None
        fields: dict[str, Any] = {}
        body: Mapping[str, Any] = {}
        kind = response.headers.get("content-type", "").partition(";")[0]
        if kind.endswith("json"):
            body = response.json()
        if kind == "application/problem+json":
            fields["code"] = body.get("code")
        elif kind == "application/json":
            fields["prediction"] = {name: body.get(name) for name in _KEPT}
        else:
            fields |= {"kind": kind, "sha": hashlib.sha256(response.content).hexdigest()}
        self._log.write("answer", n=number, status=response.status_code, **fields)
        retry_after = response.headers.get("retry-after", "")
        if response.status_code == 202 and "case" in about and body.get("id"):
            self.accepted.setdefault(str(body["id"]), about["case"])
        return Answer(
            response.status_code,
            body,
            fields.get("sha"),
            float(retry_after) if retry_after.isdecimal() else 0.0,
        )


_KEPT = ("id", "status", "created_at", "completed_at", "output", "error_code")


class Crowd:
    """All clients; each gives up at `until` (monotonic), which is set after the last fault."""

    def __init__(self, caller: Caller, seed: int) -> None:
        self._caller = caller
        self._rng = random.Random(f"crowd {seed}")
        self.until = float("inf")
        self.skipped = 0

    async def run(self, plans: Sequence[Plan], start: float) -> None:
        """Start each plan at its time after `start`, and return once all have ended."""
        running: set[asyncio.Task[None]] = set()
        for plan in plans:
            await asyncio.sleep(max(0.0, start + plan.at_s - time.monotonic()))
            if len(running) >= AT_ONCE:
                self.skipped += 1
                continue
            task = asyncio.create_task(self._live(plan))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)

    async def _live(self, plan: Plan) -> None:
        prediction_id = await self._submit(plan)
        if prediction_id is None:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self.follow(prediction_id, plan.wait_s))
            if plan.cancel_after_s is not None:
                group.create_task(self._cancel(prediction_id, plan.cancel_after_s))
            if plan.again_after_s is not None:
                group.create_task(self._again(prediction_id, plan.case, plan.again_after_s))
            if plan.other_case is not None:
                group.create_task(self._again(prediction_id, plan.other_case, 0.0))

    async def _submit(self, plan: Plan) -> str | None:
        """Submit until accepted; the id, or None after a refusal or at `until`."""
        for attempt in itertools.count():
            timeout_s = plan.give_up_s[attempt] if attempt < len(plan.give_up_s) else PATIENCE_S
            tries = [
                self._caller.submit(plan.id, plan.case, timeout_s)
                for _ in range(2 if plan.twin and attempt == 0 else 1)
            ]
            answers = [answer for answer in await asyncio.gather(*tries) if answer]
            for answer in answers:
                if answer.status == 202:
                    return str(answer.body["id"])
            if any(answer.status not in (429, 503) for answer in answers):
                return None
            if not await self._pause(answers[0] if answers else None):
                return None
        return None

    async def follow(self, prediction_id: str, wait_s: float = 5.0) -> Mapping[str, Any] | None:
        """Poll a prediction until its end; None where it is unknown, or at `until`."""
        while True:
            answer = await self._caller.get(prediction_id, wait_s)
            if answer and answer.status == 200 and answer.body["status"] in TERMINAL:
                return answer.body
            if answer and answer.status not in (200, 503):
                return None
            if not await self._pause(answer):
                return None

    async def _cancel(self, prediction_id: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        while True:
            answer = await self._caller.cancel(prediction_id)
            if (answer and answer.status != 503) or not await self._pause(answer):
                return

    async def _again(self, prediction_id: str, case: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        while True:
            answer = await self._caller.submit(prediction_id, case)
            if (answer and answer.status not in (429, 503)) or not await self._pause(answer):
                return

    async def _pause(self, answer: Answer | None) -> bool:
        """Sleep before the next try; False at `until`."""
        await asyncio.sleep(
            max(min(answer.retry_after_s, 2.0) if answer else 0.0, self._rng.uniform(0.2, 0.8))
        )
        return time.monotonic() < self.until
