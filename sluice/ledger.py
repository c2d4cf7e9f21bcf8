"""The ledger: every prediction's record in Redis, changed only by atomic scripts. The truth about every prediction.

Keys of one queue share a hash tag, so that a cluster keeps them on one node and a script may touch them all:

    {detect}:prediction:<id>  hash    the record; expires some time after the prediction's end
    {detect}:gone:<id>        string  empty; outlives the record, so that an old id is told from an unknown one
    {detect}:queued           zset    ids that wait, scored by the time from which they may be claimed
    {detect}:alone            zset    likewise, those that a worker must run alone: their leases have lapsed before
    {detect}:leases           zset    ids that run, scored by the time at which the claim lapses
    {detect}:deadlines        zset    ids that wait, scored by the time at which they are aborted
    {detect}:live             zset    queued and running ids, scored by creation: the backlog, which KEDA reads
    {detect}:bytes            number  the size of the images of all that is live
    {detect}:dead             zset    ids of dead letters, scored by their end
    {detect}:events           channel: the id of each prediction that reached a terminal status

All times are Redis's own, in seconds since the epoch: hosts' clocks may differ.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import redis

from sluice.errors import Conflict, Gone, IdReused, LeaseLost, NotFound, OutputTooLarge, QueueFull
from sluice.ledger_scripts import CANCEL, CLAIM, CREATE, FINISH, RENEW, REQUEUE, SWEEP
from sluice.prediction import Claim, Parameters, Prediction, Problem, Status
from sluice.redisio import translated
from sluice.settings import Queue

WORKER_LOST = Problem(code="worker_lost", message="The worker died or hung each time it ran this prediction.")
TOO_LATE = Problem(code="too_late", message="It did not start in time; the service was too busy or was stopped.")
_FULL = {
    "live": "there are as many predictions in the queue as are allowed; try again later",
    "bytes": "the images in the queue hold as many bytes as are allowed; try again later",
    "memory": "Redis's memory is nearly full; try again later",
}
_MEMORY_IS_BELIEVED_S = 0.5


class Swept(NamedTuple):
    """What one sweep found: ids queued again, ids that are dead letters now, ids aborted; how many predictions may be claimed
    now, and how many may be claimed to run alone.
    """

    requeued: tuple[str, ...]
    dead: tuple[str, ...]
    aborted: tuple[str, ...]
    due: int
    due_alone: int


class Ledger(Protocol):
    """Every implementation passes `tests/contract/test_ledger.py`. All methods raise RedisUnavailable when the store is away."""

    def room(self, size: int) -> None:
        """Raises QueueFull where a prediction with an image of `size` bytes would be refused now."""

    def create(
        self, prediction_id: str, model: str, parameters: Parameters, digest: str = "", size: int = 0
    ) -> tuple[Prediction, bool]:
        """Record a prediction as `starting` and queue it. Returns it, and whether this call made it: the same submission under
        the same id changes nothing.

        Raises IdReused where the id has another digest, Gone where it has been used up, QueueFull.
        """

    def get(self, prediction_id: str) -> Prediction:
        """Raises NotFound, or Gone when its retention is over."""

    def cancel(self, prediction_id: str) -> Prediction:
        """`starting | processing → canceled`. Raises Conflict when it has ended, NotFound, Gone."""

    def claim(self, owner: str, lease_s: float, *, alone: bool = False) -> Claim | None:
        """Take the prediction that waits longest, `starting → processing`, under a lease; None when none is due.

        `owner` must be new for every claim: it is what tells a stale attempt from the one that replaced it. With `alone`, of
        those that must run alone. What is past its deadline is aborted on the way.
        """

    def renew(self, claim: Claim, lease_s: float) -> None:
        """Hold a claim for `lease_s` more seconds from now. Raises LeaseLost."""

    def succeed(self, claim: Claim, output: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """`processing → succeeded`. Raises LeaseLost when the claim is no longer the owner's, or OutputTooLarge; nothing is changed
        then.
        """

    def fail(self, claim: Claim, problem: Problem, metrics: Mapping[str, float]) -> None:
        """`processing → failed`. Raises LeaseLost likewise."""

    def requeue(self, claim: Claim, delay_s: float, *, retry: bool = True) -> None:
        """`processing → starting`, to be claimed again after `delay_s` seconds. Raises LeaseLost likewise.

        It counts as a retry, unless the prediction is given back through no fault of its own.
        """

    def sweep(self) -> Swept:
        """Put right what is due. What lapsed is queued again; after some lapses, to run alone; after some more it fails and is
        a dead letter. What is past its deadline is aborted. Costs what is due, not what is stored.
        """

    def backlog(self) -> int:
        """How many predictions are queued or running."""

    def dead(self) -> list[Prediction]:
        """The dead letters, the newest first."""


class RedisLedger:
    """The ledger of one queue in Redis 6.2 or later."""

    def __init__(self, client: "redis.Redis", settings: Queue) -> None:
        self._redis = client
        self._settings = settings
        self._tag = f"{{{settings.name}}}"
        self._memory_asked_at = -float("inf")
        self._memory_used = 0.0
        texts = {
            "create": CREATE,
            "claim": CLAIM,
            "renew": RENEW,
            "finish": FINISH,
            "requeue": REQUEUE,
            "cancel": CANCEL,
            "sweep": SWEEP,
        }
        self._scripts = {name: client.register_script(text) for name, text in texts.items()}

    def room(self, size: int) -> None:
        with translated():
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.zcard(f"{self._tag}:live")
                pipe.get(f"{self._tag}:bytes")
                live, held = pipe.execute()
            used = self._memory()
        if live >= self._settings.max_backlog:
            raise QueueFull(_FULL["live"])
        if held and int(held) + size > self._settings.max_bytes:
            raise QueueFull(_FULL["bytes"])
        if used > self._settings.max_memory:
            raise QueueFull(_FULL["memory"])

    def create(
        self, prediction_id: str, model: str, parameters: Parameters, digest: str = "", size: int = 0
    ) -> tuple[Prediction, bool]:
        limits = self._settings
        args: list[str | float] = [
            model,
            parameters.model_dump_json(),
            digest,
            size,
            limits.start_within_s,
            limits.max_backlog,
            limits.max_bytes,
        ]
        answer = self._run("create", prediction_id, args).decode()
        if answer in _FULL:
            raise QueueFull(_FULL[answer])
        if answer == "taken":
            found = self.get(prediction_id)
            if found.digest != digest:
                raise IdReused(f"the id {prediction_id!r} belongs to another submission; choose a new one")
            return found, False
        prediction = Prediction(
            id=prediction_id,
            model=model,
            status=Status.STARTING,
            parameters=parameters,
            created_at=float(answer),
            digest=digest,
        )
        return prediction, True

    def get(self, prediction_id: str) -> Prediction:
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(self._record(prediction_id))
            pipe.exists(f"{self._tag}:gone:{prediction_id}")
            fields, gone = pipe.execute()
        if not fields and gone:
            raise Gone(f"prediction {prediction_id!r} was removed: its retention is over")
        if not fields:
            raise NotFound(f"no prediction {prediction_id!r} is known; is the id right?")
        return _prediction(prediction_id, fields)

    def cancel(self, prediction_id: str) -> Prediction:
        done = self._run("cancel", prediction_id, [*self._retention()])
        found = self.get(prediction_id)
        if not done:
            raise Conflict(f"prediction {prediction_id!r} has ended already: it is {found.status}")
        return found

    def claim(self, owner: str, lease_s: float, *, alone: bool = False) -> Claim | None:
        args = [owner, lease_s, "1" if alone else "0", TOO_LATE.model_dump_json(), *self._retention()]
        found = self._run("claim", "", args)
        if not found:
            return None
        prediction_id, flat = found
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        return Claim(prediction=_prediction(prediction_id.decode(), fields), owner=owner)

    def renew(self, claim: Claim, lease_s: float) -> None:
        self._owned(claim, self._run("renew", claim.prediction.id, [claim.owner, lease_s]))

    def succeed(self, claim: Claim, output: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        text = json.dumps(output)
        check_size(text, self._settings.max_output_bytes)
        self._finish(claim, Status.SUCCEEDED, "output", text, metrics)

    def fail(self, claim: Claim, problem: Problem, metrics: Mapping[str, float]) -> None:
        self._finish(claim, Status.FAILED, "error", problem.model_dump_json(), metrics)

    def requeue(self, claim: Claim, delay_s: float, *, retry: bool = True) -> None:
        self._owned(claim, self._run("requeue", claim.prediction.id, [claim.owner, delay_s, int(retry)]))

    def sweep(self) -> Swept:
        limits = self._settings
        problems = [WORKER_LOST.model_dump_json(), TOO_LATE.model_dump_json()]
        args: list[str | float] = [limits.max_shared_lapses, limits.max_lone_lapses, *problems, *self._retention(), limits.max_dead]
        *ids, due, due_alone = self._run("sweep", "", [*args, limits.dead_retention_s])
        requeued, dead, aborted = (tuple(item.decode() for item in found) for found in ids)
        return Swept(requeued, dead, aborted, int(due), int(due_alone))

    def backlog(self) -> int:
        with translated():
            return int(self._redis.zcard(f"{self._tag}:live"))

    def dead(self) -> list[Prediction]:
        with translated():
            found: Any = self._redis.zrevrange(f"{self._tag}:dead", 0, -1)
            ids = [item.decode() for item in found]
            with self._redis.pipeline(transaction=False) as pipe:
                for prediction_id in ids:
                    pipe.hgetall(self._record(prediction_id))
                records = pipe.execute()
        return [_prediction(prediction_id, fields) for prediction_id, fields in zip(ids, records, strict=True) if fields]

    def _memory(self) -> float:
        """How much of `maxmemory` is in use, 0 to 1; 0 where there is no bound. Asked now and then: it costs as much as a write."""
        if time.monotonic() - self._memory_asked_at > _MEMORY_IS_BELIEVED_S:
            said: Any = self._redis.info("memory")
            self._memory_used = said["used_memory"] / said["maxmemory"] if said["maxmemory"] else 0.0
            self._memory_asked_at = time.monotonic()
        return self._memory_used

    def _finish(self, claim: Claim, status: Status, field: str, value: str, metrics: Mapping[str, float]) -> None:
        args = [claim.owner, status.value, field, value, json.dumps(metrics), *self._retention()]
        self._owned(claim, self._run("finish", claim.prediction.id, args))

    def _owned(self, claim: Claim, done: object) -> None:
        if not done:
            raise LeaseLost(f"prediction {claim.prediction.id!r} is no longer this attempt's: its lease lapsed or it has ended")

    def _retention(self) -> tuple[int, int]:
        return self._settings.retention_s, self._settings.tombstone_s

    def _record(self, prediction_id: str) -> str:
        return f"{self._tag}:prediction:{prediction_id}"

    def _run(self, script: str, prediction_id: str, args: Sequence[str | float]) -> Any:
        keys = [self._tag, prediction_id]
        with translated():
            return self._scripts[script](keys=[f"{self._tag}:live"], args=[*keys, *args])


def check_size(output: str, max_bytes: int) -> None:
    """Raises OutputTooLarge for an output, as JSON, of more than `max_bytes`."""
    if len(output) > max_bytes:
        raise OutputTooLarge(f"the result has {len(output):,} bytes; at most {max_bytes:,} are kept: ask for fewer detections")


def _prediction(prediction_id: str, fields: Mapping[bytes, bytes]) -> Prediction:
    """A record's hash as Redis answers it."""

    def number(name: bytes) -> float | None:
        return float(fields[name]) if name in fields else None

    return Prediction(
        id=prediction_id,
        model=fields[b"model"].decode(),
        status=Status(fields[b"status"].decode()),
        parameters=Parameters.model_validate_json(fields[b"parameters"]),
        created_at=float(fields[b"created_at"]),
        started_at=number(b"started_at"),
        completed_at=number(b"completed_at"),
        attempts=int(fields.get(b"attempts", 0)),
        retries=int(fields.get(b"retries", 0)),
        digest=fields[b"digest"].decode(),
        output=json.loads(fields[b"output"]) if b"output" in fields else None,
        error=Problem.model_validate_json(fields[b"error"]) if b"error" in fields else None,
        metrics=json.loads(fields.get(b"metrics", b"{}")),
    )
