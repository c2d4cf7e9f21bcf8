"""Waiting for a prediction, and its events as they come."""

import json
import re
import time
from collections.abc import AsyncIterator, Callable, Collection
from typing import TypeVar

from anyio import fail_after

from api.deps import Services
from sluice.batch import Batch
from sluice.prediction import Prediction, Status
from sluice.resources import PredictionAnswer

_LOOK_AGAIN_S = 2.0  # while waiting, in case the news was lost with a connection
_POSITION_EVERY_S = 1.0
_COMMENT_EVERY_S = 15.0  # proxies cut connections on which nothing comes
Followed = TypeVar("Followed", Prediction, Batch)
KINDS = ("status", "logs", "output", "error", "done")


async def wait(services: Services, prediction_id: str, key: str, wait_s: float) -> Prediction:
    """The record, once it is terminal or `wait_s` are over. Raises NotFound, Gone, RedisUnavailable."""
    return await wait_for(services, services.ledger.get, prediction_id, key, wait_s)


async def wait_for(
    services: Services,
    get: Callable[[str, str], Followed],
    followed_id: str,
    key: str,
    wait_s: float,
) -> Followed:
    """Likewise; `get` reads the record."""
    until = time.monotonic() + wait_s
    with services.events.expect(followed_id) as ended:
        while True:
            found = await services.reads.run(get, followed_id, key)
            left_s = until - time.monotonic()
            if found.status.terminal or left_s <= 0 or services.events.closing:
                return found
            try:
                with fail_after(min(left_s, _LOOK_AGAIN_S)):
                    await ended.wait()
            except TimeoutError:
                pass


async def events(
    services: Services,
    prediction: Prediction,
    base_url: str,
    kinds: Collection[str],
    last_id: str = "",
) -> AsyncIterator[str]:
    """A prediction's events in the form of HTML's server-sent events, from how it is now to its end.

    `status` at each change of the status or of the position in the queue, `logs` with what was added, then `output` or `error`, and
    `done`. A connection that breaks is resumed with the same call: the first event says how things stand. With `last_id`, the id of
    the last event that arrived, the logs go on where they were; each id says how many characters of them are out.
    """
    said, spoke_at = "", time.monotonic()
    resumed = re.fullmatch(rf"{prediction.id}:(\d{{1,9}}):(\d{{1,9}})", last_id)
    number, logged = map(int, resumed.groups()) if resumed else (0, 0)

    def event(kind: str, data: str) -> str:
        nonlocal number
        number += 1
        lines = "".join(f"data: {line}\n" for line in data.split("\n"))
        return (
            f"event: {kind}\nid: {prediction.id}:{number}:{logged}\n{lines}\n"
            if kind in kinds
            else ""
        )

    with services.events.expect(prediction.id, every_change=True) as changed:
        while True:
            changed.clear()
            prediction = await services.reads.run(
                services.ledger.get, prediction.id, prediction.key
            )
            queued = await services.queue_load.position(prediction)
            status = json.dumps(
                {"id": prediction.id, "status": prediction.status, **queued.model_dump()}
            )
            text = event("status", status) if status != said else ""
            said, added, logged = status, prediction.logs[logged:], len(prediction.logs)
            if added:
                text += event("logs", added)
            if prediction.status.terminal:
                yield text + _end(event, PredictionAnswer.from_prediction(prediction, base_url))
                return
            if services.events.closing:
                return
            if not text and time.monotonic() - spoke_at > _COMMENT_EVERY_S:
                text = ": still here\n\n"
            if text:
                spoke_at = time.monotonic()
                yield text
            try:
                with fail_after(
                    _POSITION_EVERY_S if prediction.status is Status.STARTING else _LOOK_AGAIN_S
                ):
                    await changed.wait()
            except TimeoutError:
                pass


def _end(event: Callable[[str, str], str], answer: PredictionAnswer) -> str:
    if answer.status is Status.SUCCEEDED:
        return event("output", json.dumps(answer.output)) + event("done", "{}")
    if answer.status is Status.CANCELED:
        return event("done", '{"reason": "canceled"}')
    return event("error", json.dumps({"detail": answer.error, "code": answer.error_code})) + event(
        "done", '{"reason": "error"}'
    )
