"""The ledger: every prediction's record in Redis, changed only by atomic scripts.

`lua/` holds the scripts, and `sluice/redisio/names.py` the table of all keys.
"""

import json
from collections.abc import Mapping
from typing import Any, Protocol

import redis

from sluice.errors import Conflict, IdReused, LeaseLost, QueueFull
from sluice.ledger.answers import TOO_LATE, WORKER_LOST, Created, QueueLoad, Swept
from sluice.ledger.memory import MemoryUse
from sluice.ledger.record import check_size, from_record, read_record, to_record
from sluice.ledger.scripts import load, queue_calls
from sluice.prediction import Claim, Prediction, Problem, Status, Submission
from sluice.redisio.connection import translated
from sluice.redisio.health import Health, examine
from sluice.redisio.names import Names
from sluice.redisio.replication import Replication
from sluice.redisio.scripts import Script, ScriptCall, run
from sluice.settings import QueueSettings

_FULL = {
    "live": "the queue holds as many predictions as are allowed; try again later",
    "key": "this key has as many predictions in the queue as it may have; wait for some to end",
    "bytes": "the images in the queue hold as many bytes as are allowed; try again later",
    "memory": "Redis's memory is nearly full; try again later",
}
_CREATE, _CLAIM, _RENEW, _FINISH, _REQUEUE, _CANCEL = map(
    load, ("create", "claim", "renew", "finish", "requeue", "cancel")
)
_SWEEP, _COUNT_AHEAD, _HEARTBEAT, _LOAD = map(load, ("sweep", "count_ahead", "heartbeat", "load"))


class Ledger(Protocol):
    """Every implementation passes `tests/contract/test_ledger.py`.

    All methods raise RedisUnavailable where the store is unavailable. A method that takes `key`,
    the name of an API key, treats the prediction of another key as unknown.
    """

    def check_capacity(
        self, size: int, key: str = "default", max_backlog: int | None = None
    ) -> None:
        """Raises QueueFull where a prediction with an image of `size` bytes would be refused."""

    def create(
        self,
        prediction_id: str,
        submission: Submission,
        digest: str = "",
        size: int = 0,
        *,
        max_backlog: int | None = None,
    ) -> Created:
        """Record a prediction as `starting` and queue it. `size`: of the image, in bytes.

        The same submission under the same id changes nothing. `max_backlog` bounds the live
        predictions of the submission's key.

        Raises IdReused where the id has another digest, and Gone where its retention is over.
        Raises Conflict where the submission's batch has ended, and QueueFull.
        """

    def get(self, prediction_id: str, key: str | None = None) -> Prediction:
        """Raises NotFound, or Gone where its retention is over."""

    def cancel(self, prediction_id: str, key: str | None = None) -> Prediction:
        """`starting | processing → canceled`. Raises NotFound, Gone; Conflict after its end."""

    def claim(self, owner: str, lease_s: float, *, alone: bool = False) -> Claim | None:
        """Take the next prediction, `starting → processing`, under a lease; None when none is due.

        The turn goes by priority, then by keys in turn, then by age; see `lua/claim.lua`. `owner`
        must be new for every claim: it tells a stale attempt from the one that replaced it. With
        `alone`, one of those that must run alone. A prediction past its deadline is skipped; the
        next sweep aborts it.
        """

    def renew(self, claim: Claim, lease_s: float) -> None:
        """Hold a claim for `lease_s` more seconds from now. Raises LeaseLost."""

    def succeed(
        self, claim: Claim, output: Mapping[str, Any], metrics: Mapping[str, float], logs: str = ""
    ) -> None:
        """`processing → succeeded`; `logs` is one line.

        Raises LeaseLost where the claim is no longer the owner's, and OutputTooLarge; then nothing
        is changed.
        """

    def fail(
        self, claim: Claim, problem: Problem, metrics: Mapping[str, float], logs: str = ""
    ) -> None:
        """`processing → failed`. Raises LeaseLost as `succeed` does."""

    def requeue(self, claim: Claim, delay_s: float, *, retry: bool = True, logs: str = "") -> None:
        """`processing → starting`, to be claimed again after `delay_s` seconds.

        With `retry`, the call counts against `max_retries`. A worker that stops gives its
        predictions back without. Raises LeaseLost as `succeed` does.
        """

    def sweep(self) -> Swept:
        """Put right what is due: lapsed leases, missed deadlines, ends of retention.

        A prediction whose lease lapsed is queued again. After some lapses it must run alone; after
        some more it fails and becomes a dead letter. A missed deadline aborts. One call costs what
        is due, not what is stored, and handles a bounded part of it.
        """

    def mark_image_kept(self, prediction_id: str) -> None:
        """A dead letter's image lives as long as its record: sweeps do not name it again."""

    def backlog(self) -> int:
        """How many predictions are queued or running."""

    def health(self) -> Health:
        """Return what keeps the store from taking writes, and what endangers the records."""

    def count_ahead(self, prediction_id: str) -> int | None:
        """How many predictions are claimed before this one, as far as is known now.

        None unless the prediction waits only for its turn.
        """

    def heartbeat(self, worker: str, counts_s: float, *, troubled: bool = False) -> None:
        """Let a worker count as alive, and as troubled or not, for `counts_s` seconds."""

    def load(self) -> QueueLoad:
        """How busy the queue is."""

    def dead(self) -> list[Prediction]:
        """The dead letters, the newest first."""


class RedisLedger:
    """The ledger of one queue in Redis 6.2 or later.

    With `replication`, `create`, `cancel`, `succeed` and `fail` may raise ReplicasMissing.
    """

    def __init__(
        self,
        client: "redis.Redis",
        settings: QueueSettings,
        replication: Replication | None = None,
        *,
        require_noeviction: bool = False,
    ) -> None:
        self._redis = client
        self._replication = replication
        self._require_noeviction = require_noeviction
        self._settings = settings
        self._names = Names(settings.name)
        self._memory = MemoryUse(client)
        self._call = queue_calls(settings)

    def check_capacity(
        self, size: int, key: str = "default", max_backlog: int | None = None
    ) -> None:
        with translated():
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.zcard(self._names.live)
                pipe.get(self._names.bytes)
                pipe.hget(self._names.backlogs, key)
                live, used_bytes, live_of_key = pipe.execute()
            used_memory = self._memory.share()
        if live >= self._settings.max_backlog:
            raise QueueFull(_FULL["live"])
        if max_backlog is not None and int(live_of_key or 0) >= max_backlog:
            raise QueueFull(_FULL["key"])
        if used_bytes and int(used_bytes) + size > self._settings.max_bytes:
            raise QueueFull(_FULL["bytes"])
        if used_memory > self._settings.max_memory:
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
            if self._memory.share() > self._settings.max_memory:
                raise QueueFull(_FULL["memory"])
        call = self.creation(prediction_id, submission, digest, size, max_backlog)
        with translated():
            answer = run(self._redis, call, self._replication)
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
            submission.priority.value,
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
            prediction = self.get(prediction_id)
            if prediction.digest != digest:
                raise IdReused(
                    f"the id {prediction_id!r} belongs to another submission; choose a new one"
                )
            return Created(prediction, False, 0)
        if isinstance(answer, bytes):
            raise QueueFull(_FULL[answer.decode()])
        created_at, waiting = answer
        prediction = Prediction(
            id=prediction_id,
            status=Status.STARTING,
            created_at=float(created_at),
            digest=digest,
            **vars(submission),
        )
        return Created(prediction, True, waiting)

    def get(self, prediction_id: str, key: str | None = None) -> Prediction:
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(self._names.prediction(prediction_id))
            pipe.get(self._names.gone(prediction_id))
            fields, gone = pipe.execute()
        return read_record(prediction_id, key, fields, gone)

    def cancel(self, prediction_id: str, key: str | None = None) -> Prediction:
        if key is not None:
            self.get(prediction_id, key)
        done = self._run(_CANCEL, prediction_id, replication=self._replication)
        prediction = self.get(prediction_id)
        if done is None:  # it was put on record between the two calls
            return self.cancel(prediction_id, key)
        if not done:
            raise Conflict(
                f"prediction {prediction_id!r} has ended already: it is {prediction.status}"
            )
        return prediction

    def claim(self, owner: str, lease_s: float, *, alone: bool = False) -> Claim | None:
        claimed = self._run(_CLAIM, owner, lease_s, int(alone))
        if not claimed:
            return None
        prediction_id, flat = claimed
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        prediction = from_record(prediction_id.decode(), fields, to_run=True)
        return Claim(prediction=prediction, owner=owner)

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
        requeued, dead, aborted, digests = (tuple(item.decode() for item in items) for items in ids)
        return Swept(requeued, dead, aborted, int(due), int(due_alone), int(remaining), digests)

    def mark_image_kept(self, prediction_id: str) -> None:
        with translated():
            self._redis.zrem(self._names.unkept, prediction_id)

    def health(self) -> Health:
        return examine(
            self._redis,
            self._names,
            require_noeviction=self._require_noeviction,
            min_replicas=self._settings.min_replicas,
        )

    def backlog(self) -> int:
        with translated():
            return int(self._redis.zcard(self._names.live))

    def count_ahead(self, prediction_id: str) -> int | None:
        ahead = self._run(_COUNT_AHEAD, prediction_id)
        return None if ahead is None else int(ahead)

    def heartbeat(self, worker: str, counts_s: float, *, troubled: bool = False) -> None:
        self._run(_HEARTBEAT, worker, counts_s, int(troubled))

    def load(self) -> QueueLoad:
        live, running, workers, oldest_s, drain_rate_per_s, fill_ratio, troubled = self._run(_LOAD)
        with translated():
            memory = self._memory.share() / self._settings.max_memory
        return QueueLoad(
            live,
            running,
            workers,
            float(oldest_s),
            float(drain_rate_per_s),
            max(float(fill_ratio), memory),
            troubled,
        )

    def dead(self) -> list[Prediction]:
        with translated():
            members: Any = self._redis.zrevrange(self._names.dead, 0, -1)
            ids = [member.decode() for member in members]
            with self._redis.pipeline(transaction=False) as pipe:
                for prediction_id in ids:
                    pipe.hgetall(self._names.prediction(prediction_id))
                records = pipe.execute()
        return [
            from_record(prediction_id, fields)
            for prediction_id, fields in zip(ids, records, strict=True)
            if fields
        ]

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
            replication=self._replication,
        )
        self._owned(claim, done)

    def _owned(self, claim: Claim, done: object) -> None:
        if not done:
            raise LeaseLost(
                f"this attempt no longer owns prediction {claim.prediction.id!r}:"
                " its lease lapsed, or it has ended"
            )

    def _run(
        self, script: Script, *args: str | float, replication: Replication | None = None
    ) -> Any:
        with translated():
            return run(self._redis, self._call(script, *args), replication)
