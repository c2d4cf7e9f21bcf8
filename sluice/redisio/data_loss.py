"""Noticing that a Redis lost its data: it was flushed, or started without its files."""

import uuid
from typing import Any, NamedTuple

import redis

from sluice import logs
from sluice.redisio.names import Names

log = logs.get(__name__)

_SHOWN_S = 3600


class _Content(NamedTuple):
    mark: str | None
    live: int
    webhooks: int


class DataWatch:
    """Knows the mark that this data has, and how much was waiting there at the last look.

    A process that starts after the loss can't notice it, but any that ran before.
    """

    def __init__(self, client: "redis.Redis", names: Names) -> None:
        self._redis = client
        self._names = names
        self._known: _Content | None = None

    def look(self) -> None:
        """Log a loss since the last look, and leave a note of it for `/readyz`.

        Raises errors of redis-py.
        """
        found = self._read()
        if found.mark is None:
            self._redis.set(self._names.mark, uuid.uuid4().hex, nx=True)
            found = self._read()
        before, self._known = self._known, found
        if before is not None and before.mark != found.mark:
            text = (
                f"lost its data, or other data took its place: {before.live} predictions that"
                f" waited or ran and {before.webhooks} webhooks that were due are gone"
            )
            log.error(
                "redis_lost_data",
                "Redis lost its data, or other data took its place",
                predictions=before.live,
                webhooks=before.webhooks,
            )
            self._redis.set(self._names.loss, text, ex=_SHOWN_S)

    def _read(self) -> _Content:
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.get(self._names.mark)
            pipe.zcard(self._names.live)
            pipe.zcard(self._names.deliveries_open)
            answers: list[Any] = pipe.execute()
        mark, live, webhooks = answers
        return _Content(mark and mark.decode(), live, webhooks)
