"""Following a prediction or a batch: waiting for its end, and its events as they come."""

import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from anyio import fail_after

from api.traffic.followers import Followers
from api.traffic.load import QueueLoadCache
from sluice.batch import Batch
from sluice.errors import Gone, NotFound, Unavailable
from sluice.ledger.events import Events
from sluice.prediction import Prediction, Status
from sluice.resources import PredictionAnswer, QueuePosition

_READ_AGAIN_S = 2.0  # an event may be lost with a connection
_POSITION_EVERY_S = 1.0
_COMMENT_EVERY_S = 15.0  # proxies cut silent connections
_COME_BACK = "retry: 500\n: this process ends; connect again\n\n"
"""The end of a stream whose prediction goes on. Clients connect again after half a second."""

Followed = TypeVar("Followed", Prediction, Batch)
KINDS = ("status", "logs", "output", "error", "done")


@dataclass(frozen=True, kw_only=True)
class Following:
    """Reads records again when the ledger's events announce a change."""

    read: Callable[[str, str | None], Awaitable[Prediction]]
    """`Ledger.get`, within a bulkhead: of long polls and streams there may be thousands."""
    events: Events
    queue_load: QueueLoadCache
    followers: Followers
    max_wait_s: float

    async def wait(
        self, prediction_id: str, key: str | None, wait_s: float, known: Prediction | None = None
    ) -> Prediction:
        """The prediction, once it has ended or `wait_s` have passed.

        `known` is its record of just now, which is not read again.
        Raises NotFound, Gone, RedisUnavailable.
        """
        return await self.wait_for(
            lambda: self.read(prediction_id, key), prediction_id, wait_s, known
        )

    async def wait_for(
        self,
        read: Callable[[], Awaitable[Followed]],
        subject_id: str,
        wait_s: float,
        known: Followed | None = None,
    ) -> Followed:
        """The same for any record that `read` reads. `max_wait_s` bounds the wait.

        With as many followers as the process may have, the record is returned as it is.
        """
        until = time.monotonic() + min(wait_s, self.max_wait_s)
        if wait_s <= 0 or self.followers.is_full:
            return known or await read()
        with self.followers.one_more(), self.events.expect(subject_id) as ended:
            record = known
            while True:
                if record is None:
                    ended.clear()
                    record = await read()
                left_s = until - time.monotonic()
                if record.status.terminal or left_s <= 0 or self.events.closing:
                    return record
                pause_s = self.followers.pause_s(_READ_AGAIN_S)
                with suppress(TimeoutError), fail_after(min(left_s, pause_s)):
                    await ended.wait()
                record = None

    async def stream(
        self, prediction: Prediction, base_url: str, kinds: Collection[str], last_id: str = ""
    ) -> AsyncIterator[str]:
        """The prediction's events as HTML's server-sent events, from its state now to its end.

        `status` is sent at each change of the status or of the position in the queue. `logs` has
        the added text. `output` or `error`, and `done`, come last. Only `kinds` are sent.

        The same call resumes a broken connection: its first event tells the present status. With
        `last_id`, the id of the last event that arrived, the logs continue after that event.
        """
        stream = _EventStream(prediction.id, kinds, last_id)
        sent_at = time.monotonic()
        with (
            self.followers.one_more(),
            self.events.expect(prediction.id, every_change=True) as changed,
        ):
            while True:
                changed.clear()
                try:
                    prediction = await self.read(prediction.id, prediction.key)
                    queued = await self.queue_load.position(prediction)
                except (NotFound, Gone) as error:  # Redis has lost the record
                    yield stream.failed(error.message, error.code)
                    return
                except Unavailable:
                    yield _COME_BACK
                    return
                text = stream.status(prediction, queued) + stream.logs(prediction.logs)
                if prediction.status.terminal:
                    answer = PredictionAnswer.from_prediction(prediction, base_url)
                    yield text + stream.end(answer)
                    return
                if self.events.closing:
                    yield text + _COME_BACK
                    return
                if text:
                    sent_at = time.monotonic()
                    yield text
                if prediction.status is Status.STARTING:
                    pause_s = self.followers.pause_s(_POSITION_EVERY_S, reads=2)
                else:
                    pause_s = self.followers.pause_s(_READ_AGAIN_S)
                read_at = time.monotonic() + pause_s
                while not changed.is_set() and (left_s := read_at - time.monotonic()) > 0:
                    silent_s = sent_at + _COMMENT_EVERY_S - time.monotonic()
                    if silent_s <= 0:
                        sent_at = time.monotonic()
                        yield ": still here\n\n"
                        continue
                    with suppress(TimeoutError), fail_after(min(left_s, silent_s)):
                        await changed.wait()


class _EventStream:
    """The text of a stream's events.

    An event's id is `<prediction>:<number>:<characters>`: the number of the event, and how many
    characters of the logs were sent up to it.
    """

    def __init__(self, prediction_id: str, kinds: Collection[str], last_id: str) -> None:
        self._prediction_id = prediction_id
        self._kinds = kinds
        resumed = re.fullmatch(rf"{prediction_id}:(\d{{1,9}}):(\d{{1,9}})", last_id)
        self._status = ""
        self._number, self._logged = map(int, resumed.groups()) if resumed else (0, 0)

    def event(self, kind: str, data: str) -> str:
        """One event, or nothing where its kind was not chosen."""
        self._number += 1
        if kind not in self._kinds:
            return ""
        event_id = f"{self._prediction_id}:{self._number}:{self._logged}"
        lines = "".join(f"data: {line}\n" for line in data.split("\n"))
        return f"event: {kind}\nid: {event_id}\n{lines}\n"

    def status(self, prediction: Prediction, queued: QueuePosition) -> str:
        """An event with the status, if it or the position has changed."""
        status = json.dumps(
            {"id": prediction.id, "status": prediction.status, **queued.model_dump()}
        )
        if status == self._status:
            return ""
        self._status = status
        return self.event("status", status)

    def logs(self, logs: str) -> str:
        """An event with the text that was added to the logs, if any."""
        added, self._logged = logs[self._logged :], len(logs)
        return self.event("logs", added) if added else ""

    def end(self, answer: PredictionAnswer) -> str:
        """The last events."""
        if answer.status is Status.SUCCEEDED:
            return self.event("output", json.dumps(answer.output)) + self.event("done", "{}")
        if answer.status is Status.CANCELED:
            return self.event("done", '{"reason": "canceled"}')
        return self.failed(answer.error, answer.error_code)

    def failed(self, detail: str | None, code: str | None) -> str:
        """The last events of a prediction that failed."""
        error = json.dumps({"detail": detail, "code": code})
        return self.event("error", error) + self.event("done", '{"reason": "error"}')
