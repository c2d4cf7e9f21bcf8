"""Predictions as a list: one API key's, the newest first, in pages.

A page begins where the last one ended, so new and expired predictions do not move it.
"""

import base64
import binascii
import math
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


class Filter(NamedTuple):
    """The filter of a page; a field that is None lets everything pass.

    `since` is in seconds since the epoch: created then or later.
    """

    status: Status | None = None
    model: str | None = None
    since: float | None = None


EVERYTHING = Filter()


class Place(NamedTuple):
    """The start of a page: after the prediction created at `at`, towards older or newer ones."""

    older: bool
    at: float
    id: str

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
        self, key: str, cursor: str | None = None, limit: int = 50, wanted: Filter = EVERYTHING
    ) -> Page:
        """The predictions of `key` that pass `wanted`. Raises InvalidInput for a bad cursor."""


class RedisHistory:
    """Reads what the ledger writes: `{queue}:index:<key>`."""

    def __init__(self, client: "redis.Redis", queue: str) -> None:
        self._redis = client
        self._names = Names(queue)

    def page(
        self, key: str, cursor: str | None = None, limit: int = 50, wanted: Filter = EVERYTHING
    ) -> Page:
        start = Place.parse(cursor) if cursor else Place(True, float("inf"), "")
        results: list[Prediction] = []
        last, more = start, False
        with translated():
            for offset in range(0, _LOOKED_AT, _AT_A_TIME):
                found = self._entries(key, start, offset, wanted.since)
                for name, at, fields in found:
                    if (
                        at == start.at and (name >= start.id if start.older else name <= start.id)
                    ) or not fields:
                        continue
                    if len(results) == limit:
                        more = True
                        break
                    last = Place(start.older, at, name)
                    prediction = from_record(name, fields)
                    if _passes(prediction, wanted):
                        results.append(prediction)
                if more or len(found) < _AT_A_TIME:
                    break
            else:
                more = True
        return _page(results, start, last if more else None, first=cursor is None)

    def _entries(
        self, key: str, start: Place, offset: int, since: float | None
    ) -> list[tuple[str, float, dict[bytes, bytes]]]:
        """Ids with the times of their creation and their records, from `start` on."""
        index, oldest = self._names.index(key), "-inf" if since is None else since
        window: Any = {"start": offset, "num": _AT_A_TIME, "withscores": True}
        if start.older:
            entries: Any = self._redis.zrevrangebyscore(index, start.at, oldest, **window)
        else:
            entries = self._redis.zrangebyscore(
                index, max(start.at, since or 0.0), "+inf", **window
            )
        with self._redis.pipeline(transaction=False) as pipe:
            for name, _ in entries:
                pipe.hgetall(self._names.prediction(name.decode()))
            records = pipe.execute()
        return [
            (name.decode(), at, fields) for (name, at), fields in zip(entries, records, strict=True)
        ]


def _passes(prediction: Prediction, wanted: Filter) -> bool:
    return wanted.status in (None, prediction.status) and wanted.model in (None, prediction.model)


def _page(results: list[Prediction], start: Place, end: Place | None, *, first: bool) -> Page:
    """`end` is where a page further on in the same direction would begin."""
    if not start.older:
        results.reverse()
    onwards = end.cursor() if end else None
    if not results:
        return Page(results, None, onwards) if start.older else Page(results, onwards, None)
    newest, oldest = results[0], results[-1]
    if start.older:
        return Page(
            results, None if first else Place(False, newest.created_at, newest.id).cursor(), onwards
        )
    return Page(results, onwards, Place(True, oldest.created_at, oldest.id).cursor())
