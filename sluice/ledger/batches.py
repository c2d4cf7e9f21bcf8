"""Batches: many images that came in one call.

The ledger's scripts count a batch's predictions by status, and the last one ends the batch.

The id of a prediction is `<batch's id>-<index of the image>`: a repeated call creates none twice.
No list but the batch's shows these predictions. A batch takes predictions until it is canceled, or
is sealed and has no live prediction.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import redis
from pydantic import TypeAdapter

from sluice.batch import Batch, BatchSubmission, ItemError
from sluice.errors import Conflict, Gone, IdReused, NotFound
from sluice.ledger.record import from_record
from sluice.ledger.scripts import load, queue_calls
from sluice.prediction import Prediction, Priority, Status
from sluice.redisio.connection import translated
from sluice.redisio.names import Names
from sluice.redisio.replication import Replication
from sluice.redisio.scripts import Script, run
from sluice.settings import QueueSettings

_OPEN, _SEAL, _CANCEL = map(load, ("batches/open", "batches/seal", "batches/cancel"))
_TEXTS = ("model", "webhook", "base_url", "traceparent", "tracestate")


_ERRORS = TypeAdapter(tuple[ItemError, ...])


class Batches(Protocol):
    """Every implementation passes `tests/contract/test_batches.py`.

    All methods raise RedisUnavailable where the store is unavailable. A method that takes `key`,
    the name of an API key, treats the batch of another key as unknown.
    """

    def open(self, batch_id: str, submission: BatchSubmission, digest: str = "") -> Batch:
        """Record a batch, so that predictions may be created for it.

        The same batch again goes on where it stopped, unless it has ended. Raises IdReused where
        the id has another digest, Gone where its retention is over.
        """

    def seal(self, batch_id: str, errors: Sequence[ItemError] = ()) -> Batch:
        """No more images come: the batch ends with the last of its predictions, maybe now.

        `errors` are those of refused images; an image that has a prediction is left out. Raises
        NotFound, Gone.
        """

    def get(self, batch_id: str, key: str | None = None) -> Batch:
        """Raises NotFound, or Gone where its retention is over."""

    def cancel(self, batch_id: str, key: str | None = None) -> list[tuple[str, str]]:
        """Cancel the live predictions, and take no more; returns their ids and digests.

        Raises NotFound, Gone, and Conflict where the batch has ended.
        """

    def predictions(self, batch: Batch, first: int, limit: int) -> list[Prediction]:
        """The predictions of `limit` images from index `first` on.

        Refused images, and records whose retention is over, are left out.
        """


class RedisBatches:
    """The batches of one queue in Redis 6.2 or later. Thread-safe."""

    def __init__(
        self,
        client: "redis.Redis",
        settings: QueueSettings,
        replication: Replication | None = None,
    ) -> None:
        self._redis = client
        self._replication = replication
        self._names = Names(settings.name)
        self._call = queue_calls(settings)

    def open(self, batch_id: str, submission: BatchSubmission, digest: str = "") -> Batch:
        answer = self._run(_OPEN, batch_id, digest, *_to_record(submission)).decode()
        if answer == "reused":
            raise reused(batch_id)
        if answer in ("known", "gone"):
            return self.get(batch_id, submission.key)
        return Batch(
            id=batch_id,
            created_at=float(answer),
            counts=dict.fromkeys(Status, 0),
            **dict(submission),
        )

    def seal(self, batch_id: str, errors: Sequence[ItemError] = ()) -> Batch:
        refused = (part for error in errors for part in (error.index, error.model_dump_json()))
        self._run(_SEAL, batch_id, *refused)
        return self.get(batch_id)

    def get(self, batch_id: str, key: str | None = None) -> Batch:
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(self._names.batch(batch_id))
            pipe.get(self._names.gone_batch(batch_id))
            fields, gone = pipe.execute()
        owner = fields.get(b"key", gone)
        if owner is None or (key is not None and owner.decode() != key):
            raise unknown(batch_id)
        if not fields:
            raise Gone(f"batch {batch_id!r} was removed: its retention is over")
        return from_batch_record(batch_id, fields)

    def cancel(self, batch_id: str, key: str | None = None) -> list[tuple[str, str]]:
        self.get(batch_id, key)
        canceled: list[tuple[str, str]] = []
        done, first = 0, 1
        while not done:  # a hundred images at a time: Redis does nothing else meanwhile
            answer = self._run(_CANCEL, batch_id, first)
            if not answer:
                raise has_ended(self.get(batch_id))
            done, first = answer[0], 0
            names = [item.decode() for item in answer[1:]]
            canceled += zip(names[::2], names[1::2], strict=True)
        return canceled

    def predictions(self, batch: Batch, first: int, limit: int) -> list[Prediction]:
        ids = [batch.item(index) for index in range(first, min(batch.total, first + limit))]
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            for prediction_id in ids:
                pipe.hgetall(self._names.prediction(prediction_id))
            records = zip(ids, pipe.execute(), strict=True)
        return [
            from_record(name, fields)
            for name, fields in records
            if fields.get(b"batch") == batch.id.encode()
        ]

    def _run(self, script: Script, *args: str | float) -> Any:
        with translated():
            return run(self._redis, self._call(script, *args), self._replication)


def _to_record(submission: BatchSubmission) -> list[str | int]:
    fields: dict[str, str | int | None] = {
        "key": submission.key,
        "total": submission.total,
        "priority": submission.priority.value,
        "metadata": json.dumps(submission.metadata) if submission.metadata else None,
        "webhook_events": ",".join(submission.webhook_events) or None,
        **{name: getattr(submission, name) or None for name in _TEXTS},
    }
    return [part for name, value in fields.items() if value is not None for part in (name, value)]


def from_batch_record(batch_id: str, fields: Mapping[bytes, bytes]) -> Batch:
    """The batch that a record's hash holds, as Redis answers it."""
    return Batch(
        id=batch_id,
        key=fields[b"key"].decode(),
        total=int(fields[b"total"]),
        priority=Priority(fields[b"priority"].decode()),
        metadata=json.loads(fields.get(b"metadata", b"{}")),
        webhook_events=tuple(fields[b"webhook_events"].decode().split(","))
        if b"webhook_events" in fields
        else (),
        created_at=float(fields[b"created_at"]),
        completed_at=float(fields[b"completed_at"]) if b"completed_at" in fields else None,
        canceled=b"canceled_at" in fields,
        counts={status: int(fields.get(status.encode(), 0)) for status in Status},
        errors=_ERRORS.validate_json(fields.get(b"errors", b"[]")),
        **{name: fields[name.encode()].decode() for name in _TEXTS if name.encode() in fields},
    )


def unknown(batch_id: str) -> NotFound:
    return NotFound(f"no batch {batch_id!r} is known; is the id right?")


def reused(batch_id: str) -> IdReused:
    return IdReused(f"the id {batch_id!r} belongs to another batch; choose a new one")


def has_ended(batch: Batch) -> Conflict:
    return Conflict(f"batch {batch.id!r} has ended already: it is {batch.status}")
