"""The ledger: every prediction's record in Redis, changed only by atomic scripts. The truth about every prediction.

The keys in Redis are listed in `sluice/redisio/names.py`, and the scripts are in `lua/`.
"""

import json
import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import redis

from sluice.errors import Conflict, Gone, IdReused, LeaseLost, NotFound, OutputTooLarge, QueueFull
from sluice.ledger.record import from_record, to_record
from sluice.ledger.scripts import load
from sluice.prediction import Claim, Prediction, Problem, Status, Submission
from sluice.redisio.connection import translated
from sluice.redisio.names import Names
from sluice.redisio.scripts import Script, ScriptCall, run
from sluice.settings import QueueSettings

WORKER_LOST = Problem(
    code="worker_lost", message="The worker died or hung each time it ran this prediction."
)
TOO_LATE = Problem(
    code="too_late", message="It did not start in time; the service was too busy or was stopped."
)
_FULL = {
    "live": "there are as many predictions in the queue as are allowed; try again later",
    "key": "this key has as many predictions in the queue as it is allowed; wait for some of them to end",
    "bytes": "the images in the queue hold as many bytes as are allowed; try again later",
    "memory": "Redis's memory is nearly full; try again later",
}
_MEMORY_CACHE_TTL_S = 0.5
_MAX_LOGS_BYTES = 4000
_CREATE, _CLAIM, _RENEW, _FINISH, _REQUEUE, _CANCEL = map(
    load, ("create", "claim", "renew", "finish", "requeue", "cancel")
)
_SWEEP, _COUNT_AHEAD, _HEARTBEAT, _LOAD = map(load, ("sweep", "count_ahead", "heartbeat", "load"))


class Swept(NamedTuple):
    """What one sweep found: ids queued again, ids of dead letters whose images nobody has kept yet, ids aborted; how many
    predictions may be claimed now, and how many may be claimed to run alone; how many lapses and deadlines it left to the next; and
    the digests of those aborted.
    """

    requeued: tuple[str, ...]
    dead: tuple[str, ...]
    aborted: tuple[str, ...]
    due: int
    due_alone: int
    remaining: int = 0
    digests: tuple[str, ...] = ()


class Created(NamedTuple):
    """`made` tells whether this call put it on record; `waiting`, how many are queued now, with it."""

    prediction: Prediction
    made: bool
    waiting: int


class QueueLoad(NamedTuple):
    """How busy the queue is. `oldest_s`: how long ago the oldest live prediction was submitted. `drain_rate_per_s`: how many ended in a second
    while others waited, in the best ten seconds of the last minute; 0 when none did. `fill_ratio`: how much of the nearest bound is in
    use, 0 to 1.
    """

    live: int
    running: int
    workers: int
    oldest_s: float
    drain_rate_per_s: float
    fill_ratio: float

    def wait_s(self, ahead: int) -> float | None:
        """About how long until what has `ahead` others before it has ended; None where nothing tells."""
        return (ahead + 1) / self.drain_rate_per_s if self.drain_rate_per_s else None


class Ledger(Protocol):
    """Every implementation passes `tests/contract/test_ledger.py`. All methods raise RedisUnavailable when the store is away.

    Where a method takes the name of an API key, another key's prediction is unknown to it.
    """

    def check_capacity(
        self, size: int, key: str = "default", max_backlog: int | None = None
    ) -> None:
        """Raises QueueFull where a prediction with an image of `size` bytes would be refused now."""

    def create(
        self,
        prediction_id: str,
        submission: Submission,
        digest: str = "",
        size: int = 0,
        *,
        max_backlog: int | None = None,
    ) -> Created:
        """Record a prediction as `starting` and queue it. The same submission under the same id changes nothing. `max_backlog`
        bounds what is live of the submission's key.

        Raises IdReused where the id has another digest, Gone where it has been used up, Conflict where the submission's batch has
        ended, QueueFull.
        """

    def get(self, prediction_id: str, key: str | None = None) -> Prediction:
        """Raises NotFound, or Gone when its retention is over."""

    def cancel(self, prediction_id: str, key: str | None = None) -> Prediction:
        """`starting | processing → canceled`. Raises Conflict when it has ended, NotFound, Gone."""

    def claim(self, owner: str, lease_s: float, *, alone: bool = False) -> Claim | None:
        """Take the prediction whose turn it is, `starting → processing`, under a lease; None when none is due.

        Whose turn it is: by priority, then by keys in turn, then by age; `lua/claim.lua` says how much the lower priorities
        get. `owner` must be new for every claim: it is what tells a stale attempt from the one that replaced it. With `alone`, of
        those that must run alone. What is past its deadline is passed over; the next sweep aborts it.
        """

    def renew(self, claim: Claim, lease_s: float) -> None:
        """Hold a claim for `lease_s` more seconds from now. Raises LeaseLost."""

    def succeed(
        self, claim: Claim, output: Mapping[str, Any], metrics: Mapping[str, float], logs: str = ""
    ) -> None:
        """`processing → succeeded`; `logs` is one line. Raises LeaseLost when the claim is no longer the owner's, or
        OutputTooLarge; nothing is changed then.
        """

    def fail(
        self, claim: Claim, problem: Problem, metrics: Mapping[str, float], logs: str = ""
    ) -> None:
        """`processing → failed`. Raises LeaseLost likewise."""

    def requeue(self, claim: Claim, delay_s: float, *, retry: bool = True, logs: str = "") -> None:
        """`processing → starting`, to be claimed again after `delay_s` seconds. Raises LeaseLost likewise.

        It counts as a retry, unless the prediction is given back through no fault of its own.
        """

    def sweep(self) -> Swept:
        """Put right what is due. What lapsed is queued again; after some lapses, to run alone; after some more it fails and is
        a dead letter. What is past its deadline is aborted. Costs what is due, not what is stored, and not all of it at once.
        """

    def mark_image_kept(self, prediction_id: str) -> None:
        """A dead letter's image is kept for as long as its record is: sweeps name it no more."""

    def backlog(self) -> int:
        """How many predictions are queued or running."""

    def count_ahead(self, prediction_id: str) -> int | None:
        """How many predictions are claimed before this one, as far as is known now; None unless it waits only for its turn."""

    def heartbeat(self, worker: str, counts_s: float) -> None:
        """This worker process is well; it counts as one for `counts_s` seconds."""

    def load(self) -> QueueLoad:
        """How busy the queue is."""

    def dead(self) -> list[Prediction]:
        """The dead letters, the newest first."""


class RedisLedger:
    """The ledger of one queue in Redis 6.2 or later."""

    def __init__(self, client: "redis.Redis", settings: QueueSettings) -> None:
        self._redis = client
        self._settings = settings
        self._names = Names(settings.name)
        self._memory_asked_at = -float("inf")
        self._memory_used = 0.0
        self._limits = script_limits(settings)

    def check_capacity(
        self, size: int, key: str = "default", max_backlog: int | None = None
    ) -> None:
        with translated():
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.zcard(self._names.live)
                pipe.get(self._names.bytes)
                pipe.hget(self._names.backlogs, key)
                live, held, of_key = pipe.execute()
            used = self._memory()
        if live >= self._settings.max_backlog:
            raise QueueFull(_FULL["live"])
        if max_backlog is not None and int(of_key or 0) >= max_backlog:
            raise QueueFull(_FULL["key"])
        if held and int(held) + size > self._settings.max_bytes:
            raise QueueFull(_FULL["bytes"])
        if used > self._settings.max_memory:
            raise QueueFull(_FULL["memory"])

    def create(
        self,
        prediction_id: str,
        submission: Submission,
        digest: str = "",
        size: int = 0,
        *,
        max_backlog: int | None = None,
    ) -> Created:
        with translated():
            if self._memory() > self._settings.max_memory:
                raise QueueFull(_FULL["memory"])
        call = self.creation(prediction_id, submission, digest, size, max_backlog)
        with translated():
            answer = run(self._redis, call)
        return self.read_created(answer, prediction_id, submission, digest)

    def creation(
        self,
        prediction_id: str,
        submission: Submission,
        digest: str,
        size: int,
        max_backlog: int | None,
    ) -> ScriptCall:
        """The call that `create` makes, for a caller that sends it otherwise.

        `read_created` reads the answer. Redis's memory is not checked.
        """
        start_within_s = self._settings.start_within_s
        if submission.start_within_s is not None:
            start_within_s = min(start_within_s, submission.start_within_s)
        return self._call(
            _CREATE,
            prediction_id,
            size,
            start_within_s,
            submission.key,
            "" if max_backlog is None else max_backlog,
            submission.batch or "",
            *to_record(submission, digest),
        )

    def read_created(
        self, answer: Any, prediction_id: str, submission: Submission, digest: str
    ) -> Created:
        """The answer to `creation`. Raises what `create` raises."""
        if answer == b"closed":
            raise Conflict(
                f"batch {submission.batch!r} takes no more images: it has ended, or was canceled"
            )
        if answer == b"taken":
            found = self.get(prediction_id)
            if found.digest != digest:
                raise IdReused(
                    f"the id {prediction_id!r} belongs to another submission; choose a new one"
                )
            return Created(found, False, 0)
        if isinstance(answer, bytes):
            raise QueueFull(_FULL[answer.decode()])
        at, waiting = answer
        prediction = Prediction(
            id=prediction_id,
            status=Status.STARTING,
            created_at=float(at),
            digest=digest,
            **vars(submission),
        )
        return Created(prediction, True, waiting)

    def get(self, prediction_id: str, key: str | None = None) -> Prediction:
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(self._names.prediction(prediction_id))
            pipe.get(self._names.gone(prediction_id))
            fields, gone = pipe.execute()
        owner = fields.get(b"key", gone)
        if owner is None or (key is not None and owner.decode() != key):
            raise NotFound(f"no prediction {prediction_id!r} is known; is the id right?")
        if not fields:
            raise Gone(f"prediction {prediction_id!r} was removed: its retention is over")
        return from_record(prediction_id, fields)

    def cancel(self, prediction_id: str, key: str | None = None) -> Prediction:
        if key is not None:
            self.get(prediction_id, key)
        done = self._run(_CANCEL, prediction_id)
        found = self.get(prediction_id)
        if done is None:  # it was put on record in between
            return self.cancel(prediction_id, key)
        if not done:
            raise Conflict(f"prediction {prediction_id!r} has ended already: it is {found.status}")
        return found

    def claim(self, owner: str, lease_s: float, *, alone: bool = False) -> Claim | None:
        found = self._run(_CLAIM, owner, lease_s, int(alone))
        if not found:
            return None
        prediction_id, flat = found
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        return Claim(prediction=from_record(prediction_id.decode(), fields), owner=owner)

    def renew(self, claim: Claim, lease_s: float) -> None:
        self._owned(claim, self._run(_RENEW, claim.prediction.id, claim.owner, lease_s))

    def succeed(
        self, claim: Claim, output: Mapping[str, Any], metrics: Mapping[str, float], logs: str = ""
    ) -> None:
        text = json.dumps(output)
        check_size(text, self._settings.max_output_bytes)
        self._finish(claim, Status.SUCCEEDED, "output", text, metrics, logs)

    def fail(
        self, claim: Claim, problem: Problem, metrics: Mapping[str, float], logs: str = ""
    ) -> None:
        self._finish(claim, Status.FAILED, "error", problem.model_dump_json(), metrics, logs)

    def requeue(self, claim: Claim, delay_s: float, *, retry: bool = True, logs: str = "") -> None:
        self._owned(
            claim,
            self._run(_REQUEUE, claim.prediction.id, claim.owner, delay_s, int(retry), logs),
        )

    def sweep(self) -> Swept:
        *ids, due, due_alone, remaining = self._run(
            _SWEEP, WORKER_LOST.model_dump_json(), TOO_LATE.model_dump_json()
        )
        requeued, dead, aborted, digests = (tuple(item.decode() for item in found) for found in ids)
        return Swept(requeued, dead, aborted, int(due), int(due_alone), int(remaining), digests)

    def mark_image_kept(self, prediction_id: str) -> None:
        with translated():
            self._redis.zrem(self._names.unkept, prediction_id)

    def backlog(self) -> int:
        with translated():
            return int(self._redis.zcard(self._names.live))

    def count_ahead(self, prediction_id: str) -> int | None:
        found = self._run(_COUNT_AHEAD, prediction_id)
        return None if found is None else int(found)

    def heartbeat(self, worker: str, counts_s: float) -> None:
        self._run(_HEARTBEAT, worker, counts_s)

    def load(self) -> QueueLoad:
        live, running, workers, oldest_s, drain_rate_per_s, fill_ratio = self._run(_LOAD)
        with translated():
            memory = self._memory() / self._settings.max_memory
        return QueueLoad(
            live,
            running,
            workers,
            float(oldest_s),
            float(drain_rate_per_s),
            max(float(fill_ratio), memory),
        )

    def dead(self) -> list[Prediction]:
        with translated():
            found: Any = self._redis.zrevrange(self._names.dead, 0, -1)
            ids = [item.decode() for item in found]
            with self._redis.pipeline(transaction=False) as pipe:
                for prediction_id in ids:
                    pipe.hgetall(self._names.prediction(prediction_id))
                records = pipe.execute()
        return [
            from_record(prediction_id, fields)
            for prediction_id, fields in zip(ids, records, strict=True)
            if fields
        ]

    def _memory(self) -> float:
        """How much of `maxmemory` is in use, 0 to 1; 0 where there is no bound. Asked now and then: it costs as much as a write."""
        if time.monotonic() - self._memory_asked_at > _MEMORY_CACHE_TTL_S:
            said: Any = self._redis.info("memory")
            self._memory_used = (
                said["used_memory"] / said["maxmemory"] if said["maxmemory"] else 0.0
            )
            self._memory_asked_at = time.monotonic()
        return self._memory_used

    def _finish(
        self,
        claim: Claim,
        status: Status,
        field: str,
        value: str,
        metrics: Mapping[str, float],
        logs: str,
    ) -> None:
        done = self._run(
            _FINISH,
            claim.prediction.id,
            claim.owner,
            status.value,
            field,
            value,
            json.dumps(metrics),
            logs,
        )
        self._owned(claim, done)

    def _owned(self, claim: Claim, done: object) -> None:
        if not done:
            raise LeaseLost(
                f"prediction {claim.prediction.id!r} is no longer this attempt's: its lease lapsed or it has ended"
            )

    def _call(self, script: Script, *args: str | float) -> ScriptCall:
        return script.call([self._names.live], [self._names.tag, self._limits, *args])

    def _run(self, script: Script, *args: str | float) -> Any:
        with translated():
            return run(self._redis, self._call(script, *args))


def script_limits(settings: QueueSettings) -> str:
    """The limits as the scripts take them."""
    kept_s = math.ceil(settings.start_within_s + settings.retry_for_s) + max(
        settings.retention_s, settings.dead_retention_s
    )
    limits = {
        **settings.model_dump(mode="json", exclude={"name"}),
        "max_logs_bytes": _MAX_LOGS_BYTES,
        "index_ttl_s": kept_s,
    }
    return json.dumps(limits)


def check_size(output: str, max_bytes: int) -> None:
    """Raises OutputTooLarge for an output, as JSON, of more than `max_bytes`."""
    if len(output) > max_bytes:
        raise OutputTooLarge(
            f"the result has {len(output):,} bytes; at most {max_bytes:,} are kept: ask for fewer detections"
        )
