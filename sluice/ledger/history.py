"""Predictions as a list: those of API keys, and the dead letters; the newest first, in pages.

A page begins where the last one ended, so new and expired predictions do not move it.
"""

import base64
import binascii
import heapq
import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

import redis

from sluice.errors import InvalidInput
from sluice.ledger.record import from_record
from sluice.prediction import Prediction, Status
from sluice.redisio.connection import translated
from sluice.redisio.names import Names

# At most so many records are read for one page. A page of a strict filter may be short, and still
# have a next one.
_LOOKED_AT = 1000
_AT_A_TIME = 100
_LEAST_AT_A_TIME = 10  # of one index, while the indexes of many keys are merged


class Filter(NamedTuple):
    """The filter of a page; a field that is None lets everything pass.

    `since` and `until` are in seconds since the epoch: created at `since` or later, and before
    `until`.
    """

    status: Status | None = None
    model: str | None = None
    since: float | None = None
    until: float | None = None

    def passes(self, prediction: Prediction) -> bool:
        """True for a prediction of this status and model. The times are not looked at."""
        return self.status in (None, prediction.status) and self.model in (None, prediction.model)


EVERYTHING = Filter()


class Place(NamedTuple):
    """The start of a page: after the prediction at `at`, towards older or newer ones.

    `at` is the time of its creation; of a dead letter, the time of its end.
    """

    older: bool
    at: float
    id: str

    def precedes(self, at: float, id_: str) -> bool:
        """True if this start comes before the prediction `id_` at `at`."""
        return (at, id_) < (self.at, self.id) if self.older else (at, id_) > (self.at, self.id)

    def cursor(self) -> str:
        return (
            base64.urlsafe_b64encode(f"{'<' if self.older else '>'}{self.at!r} {self.id}".encode())
            .decode()
            .rstrip("=")
        )

    @classmethod
    def parse(cls, cursor: str) -> "Place":
        """Raises InvalidInput."""
        try:
            text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
            at, prediction_id = text[1:].split(" ")
            if text[0] in "<>" and math.isfinite(float(at)):
                return cls(text[0] == "<", float(at), prediction_id)
        except (binascii.Error, ValueError, IndexError):
            pass
        raise InvalidInput("cursor: take it from `next` or `previous` of another page")


class Page(NamedTuple):
    """`previous` and `next` are the cursors of newer and older pages; None where there is none."""

    results: list[Prediction]
    previous: str | None
    next: str | None


class History(Protocol):
    """Every implementation passes `tests/contract/test_history.py`. Raises RedisUnavailable."""

    def page(
        self,
        keys: Sequence[str],
        cursor: str | None = None,
        limit: int = 50,
        wanted: Filter = EVERYTHING,
    ) -> Page:
        """The predictions of `keys`, names of API keys, that pass `wanted`.

        Raises InvalidInput for a bad cursor.
        """

    def dead(self, cursor: str | None = None, limit: int = 50) -> Page:
        """The dead letters of all keys, the last to end first. Raises InvalidInput."""


class _Entry(NamedTuple):
    at: float
    id: str


class RedisHistory:
    """Reads what the ledger writes: `{queue}:index:<key>` and `{queue}:dead`."""

    def __init__(self, client: "redis.Redis", queue: str) -> None:
        self._redis = client
        self._names = Names(queue)

    def page(
        self,
        keys: Sequence[str],
        cursor: str | None = None,
        limit: int = 50,
        wanted: Filter = EVERYTHING,
    ) -> Page:
        return self._page([self._names.index(key) for key in keys], cursor, limit, wanted)

    def dead(self, cursor: str | None = None, limit: int = 50) -> Page:
        return self._page([self._names.dead], cursor, limit, EVERYTHING)

    def _page(self, indexes: Sequence[str], cursor: str | None, limit: int, wanted: Filter) -> Page:
        start = Place.parse(cursor) if cursor else Place(True, float("inf"), "")
        found: list[tuple[_Entry, Prediction]] = []
        last, more, looked_at = start, False, 0
        with translated():
            entries = self._entries(indexes, start, wanted)
            while not more and (some := list(islice(entries, _AT_A_TIME))):
                looked_at += len(some)
                for entry, fields in zip(some, self._records(some), strict=True):
                    if not fields:
                        continue
                    if len(found) == limit:
                        more = True
                        break
                    last = Place(start.older, *entry)
                    prediction = from_record(entry.id, fields)
                    if wanted.passes(prediction):
                        found.append((entry, prediction))
                more = more or looked_at >= _LOOKED_AT
        return _page(found, start, last if more else None, first=cursor is None)

    def _records(self, entries: Sequence[_Entry]) -> list[dict[bytes, bytes]]:
        with self._redis.pipeline(transaction=False) as pipe:
            for entry in entries:
                pipe.hgetall(self._names.prediction(entry.id))
            return pipe.execute()

    def _entries(self, indexes: Sequence[str], start: Place, wanted: Filter) -> Iterator[_Entry]:
        """The entries of all indexes after `start`, in order, read as they are asked for.

        The first entries of many indexes are read in one go.
        """
        num = max(_LEAST_AT_A_TIME, _AT_A_TIME // max(1, len(indexes)))

        def read(client: Any, index: str, offset: int) -> Any:
            oldest = "-inf" if wanted.since is None else wanted.since
            newest = "+inf" if wanted.until is None else f"({wanted.until!r}"
            window: Any = {"start": offset, "num": num, "withscores": True}
            if start.older:
                if wanted.until is None or start.at < wanted.until:
                    newest = repr(start.at)
                return client.zrevrangebyscore(index, newest, oldest, **window)
            return client.zrangebyscore(index, max(start.at, wanted.since or 0.0), newest, **window)

        def follow(index: str, window: Any) -> Iterator[_Entry]:
            offset = 0
            while True:
                for name, at in window:
                    if start.precedes(at, name.decode()):
                        yield _Entry(at, name.decode())
                if len(window) < num:
                    return
                offset += num
                window = read(self._redis, index, offset)

        windows: list[Any] = []
        for first in range(0, len(indexes), _AT_A_TIME):
            with self._redis.pipeline(transaction=False) as pipe:
                for index in indexes[first : first + _AT_A_TIME]:
                    read(pipe, index, 0)
                windows += pipe.execute()
        return heapq.merge(*map(follow, indexes, windows), reverse=start.older)


def _page(
    found: list[tuple[_Entry, Prediction]], start: Place, end: Place | None, *, first: bool
) -> Page:
    """`end` is where a page further on in the same direction would begin."""
    if not start.older:
        found.reverse()
    results = [prediction for _, prediction in found]
    onwards = end.cursor() if end else None
    if not results:
        return Page(results, None, onwards) if start.older else Page(results, onwards, None)
    newest, oldest = found[0][0], found[-1][0]
    if start.older:
        return Page(results, None if first else Place(False, *newest).cursor(), onwards)
    return Page(results, onwards, Place(True, *oldest).cursor())
