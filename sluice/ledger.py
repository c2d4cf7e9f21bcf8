"""The ledger: every prediction's record in Redis, changed only by atomic scripts. The truth about every prediction.

Keys of one queue share a hash tag, so that a cluster keeps them on one node and a script may touch them all:

    {detect}:prediction:<id>  hash   the record; expires some time after the prediction's end
    {detect}:queued           zset   ids that wait, scored by the time from which they may be claimed
    {detect}:leases           zset   ids that run, scored by the time at which the claim lapses
    {detect}:live             zset   queued and running ids, scored by creation: the backlog, which KEDA reads
    {detect}:events           channel: the id of each prediction that reached a terminal status

All times are Redis's own, in seconds since the epoch: hosts' clocks may differ.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import redis

from sluice.errors import Conflict, LeaseLost, NotFound
from sluice.ledger_scripts import CLAIM, CREATE, FINISH, RENEW, REQUEUE, SWEEP
from sluice.prediction import Claim, Parameters, Prediction, Problem, Status
from sluice.redisio import translated

WORKER_LOST = Problem(code="worker_lost", message="The worker died or hung each time it ran this prediction.")


class Swept(NamedTuple):
    """What one sweep found: ids queued again, ids failed for good, and how many predictions may be claimed now."""

    requeued: tuple[str, ...]
    failed: tuple[str, ...]
    due: int


class Ledger(Protocol):
    """Every implementation passes `tests/contract/test_ledger.py`. All methods raise RedisUnavailable when the store is away."""

    def create(self, prediction_id: str, model: str, parameters: Parameters) -> Prediction:
        """Record a prediction as `starting` and queue it. Raises Conflict when the id is taken."""

    def get(self, prediction_id: str) -> Prediction:
        """Raises NotFound."""

    def claim(self, owner: str, lease_s: float) -> Claim | None:
        """Take the prediction that waits longest, `starting → processing`, under a lease; None when none is due.

        `owner` must be new for every claim: it is what tells a stale attempt from the one that replaced it.
        """

    def renew(self, claim: Claim, lease_s: float) -> None:
        """Hold a claim for `lease_s` more seconds from now. Raises LeaseLost."""

    def succeed(self, claim: Claim, output: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """`processing → succeeded`. Raises LeaseLost when the claim is no longer the owner's; nothing is changed then."""

    def fail(self, claim: Claim, problem: Problem, metrics: Mapping[str, float]) -> None:
        """`processing → failed`. Raises LeaseLost likewise."""

    def requeue(self, claim: Claim, delay_s: float) -> None:
        """`processing → starting`, to be claimed again after `delay_s` seconds. Raises LeaseLost likewise."""

    def sweep(self, max_lapses: int) -> Swept:
        """Queue again what lapsed, or fail what has lapsed `max_lapses` times. Costs what is due, not what is stored."""

    def backlog(self) -> int:
        """How many predictions are queued or running."""


class RedisLedger:
    """The ledger of one queue in Redis 6.2 or later."""

    def __init__(self, client: "redis.Redis", queue: str, retention_s: int) -> None:
        self._redis = client
        self._tag = f"{{{queue}}}"
        self._retention_s = retention_s
        self._scripts = {
            name: client.register_script(text)
            for name, text in {
                "create": CREATE,
                "claim": CLAIM,
                "renew": RENEW,
                "finish": FINISH,
                "requeue": REQUEUE,
                "sweep": SWEEP,
            }.items()
        }

    def create(self, prediction_id: str, model: str, parameters: Parameters) -> Prediction:
        text = parameters.model_dump_json()
        created_at = self._run("create", prediction_id, [model, text])
        if created_at is None:
            raise Conflict(f"prediction {prediction_id!r} exists already")
        return Prediction(
            id=prediction_id, model=model, status=Status.STARTING, parameters=parameters, created_at=float(created_at)
        )

    def get(self, prediction_id: str) -> Prediction:
        with translated():
            fields: Any = self._redis.hgetall(self._record(prediction_id))
        if not fields:
            raise NotFound(f"no prediction {prediction_id!r}: the id is wrong, or its retention is over")
        return _prediction(prediction_id, fields)

    def claim(self, owner: str, lease_s: float) -> Claim | None:
        found = self._run("claim", "", [owner, lease_s])
        if not found:
            return None
        prediction_id, flat = found
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        return Claim(prediction=_prediction(prediction_id.decode(), fields), owner=owner)

    def renew(self, claim: Claim, lease_s: float) -> None:
        self._owned(claim, self._run("renew", claim.prediction.id, [claim.owner, lease_s]))

    def succeed(self, claim: Claim, output: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        self._finish(claim, Status.SUCCEEDED, "output", json.dumps(output), metrics)

    def fail(self, claim: Claim, problem: Problem, metrics: Mapping[str, float]) -> None:
        self._finish(claim, Status.FAILED, "error", problem.model_dump_json(), metrics)

    def requeue(self, claim: Claim, delay_s: float) -> None:
        self._owned(claim, self._run("requeue", claim.prediction.id, [claim.owner, delay_s]))

    def sweep(self, max_lapses: int) -> Swept:
        requeued, failed, due = self._run("sweep", "", [max_lapses, WORKER_LOST.model_dump_json(), self._retention_s])
        return Swept(tuple(x.decode() for x in requeued), tuple(x.decode() for x in failed), int(due))

    def backlog(self) -> int:
        with translated():
            return int(self._redis.zcard(f"{self._tag}:live"))

    def _finish(self, claim: Claim, status: Status, field: str, value: str, metrics: Mapping[str, float]) -> None:
        args = [claim.owner, status.value, field, value, json.dumps(metrics), self._retention_s]
        self._owned(claim, self._run("finish", claim.prediction.id, args))

    def _owned(self, claim: Claim, done: object) -> None:
        if not done:
            raise LeaseLost(f"prediction {claim.prediction.id!r} is no longer this attempt's: its lease lapsed or it has ended")

    def _record(self, prediction_id: str) -> str:
        return f"{self._tag}:prediction:{prediction_id}"

    def _run(self, script: str, prediction_id: str, args: Sequence[str | float]) -> Any:
        keys = [self._tag, prediction_id]
        with translated():
            return self._scripts[script](keys=[f"{self._tag}:live"], args=[*keys, *args])


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
        output=json.loads(fields[b"output"]) if b"output" in fields else None,
        error=Problem.model_validate_json(fields[b"error"]) if b"error" in fields else None,
        metrics=json.loads(fields.get(b"metrics", b"{}")),
    )
