"""The deliveries: every webhook event on its way to one URL, changed only by atomic scripts.

The ledger files a delivery in the step that records the status; see
`lua/include/deliveries/file.lua`. A receiver is the origin of a URL, for one API key. Each receiver
has a queue of its own, so that it delays no other. The attempts at one receiver are bounded, and a
receiver that keeps failing is paused. Keys take turns, and the receivers of a key too; the attempts
for one key are bounded.

KEDA reads two sets. The length of `{default}:deliveries` tells how many senders are of use, some
hundreds of deliveries for each. `{default}:deliveries-open`, with a very large `listLength`, asks
for one sender: retries wait for hours, and a sender must run when they are due.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import redis

from sluice.delivery import (
    AttemptOutcome,
    ClaimedDeliveries,
    Delivery,
    DeliveryAttempt,
    OutgoingDelivery,
    SweptDeliveries,
)
from sluice.errors import Conflict, Gone, NotFound
from sluice.ledger.scripts import Calls, load
from sluice.redisio.connection import translated
from sluice.redisio.names import Names
from sluice.redisio.scripts import Script, run
from sluice.settings import WebhooksSettings

_CLAIM, _SETTLE, _SWEEP, _REDELIVER, _FILE_TEST = (
    load(f"deliveries/{name}") for name in ("claim", "settle", "sweep", "redeliver", "file_test")
)
_SHOWN = (
    "kind",
    "subject_id",
    "event",
    "url",
    "key",
    "status",
    "created_at",
    "due",
    "attempts",
    "failures",
    "reason",
    "traceparent",
    "tracestate",
)


class Deliveries(Protocol):
    """Every implementation passes `tests/contract/test_deliveries.py`.

    All methods raise RedisUnavailable where the store is unavailable.
    """

    def claim(self, owner: str, most: int) -> ClaimedDeliveries:
        """Take at most `most` due deliveries: keys in turn, and the receivers of a key in turn.

        `owner` must be new for every call.
        """

    def settle(self, outcomes: Sequence[AttemptOutcome]) -> list[bool]:
        """Record outcomes of attempts; False where the claim had lapsed and nothing was changed."""

    def sweep(self) -> SweptDeliveries:
        """Queue again what lost its sender, and give up what is past its time.

        Costs what is due, not what is stored.
        """

    def deliveries_for(self, kind: str, subject_id: str) -> list[Delivery]:
        """The deliveries of one prediction or batch with their logs, the oldest first."""

    def get(self, delivery_id: str, key: str | None = None) -> Delivery:
        """One delivery. Raises NotFound, also for a delivery of another key than `key`."""

    def file_test(self, subject_id: str, url: str, key: str, body: bytes) -> Delivery:
        """File a test event for the API key `key`, with its whole body.

        `subject_id` must be new. The delivery's id is `<subject_id>_test`.
        """

    def redeliver(self, delivery_id: str, key: str | None = None) -> Delivery:
        """Send a settled delivery once more, with the same id.

        Raises NotFound, also for a delivery of another key than `key`. Raises Conflict where the
        delivery is on its way, or would come after the prediction's end. Raises Gone where the
        record that the body is made from is gone.
        """

    def dead(self, first: int = 0, limit: int | None = None) -> list[Delivery]:
        """Deliveries that were given up, or stopped by a 410, with their logs; the newest first.

        `first` is how many are left out, and `limit` how many are returned; None for all.
        """

    def waiting(self) -> int:
        """How many deliveries are not settled."""


class RedisDeliveries:
    """The deliveries of the queue named `queue`, in Redis 6.2 or later. Thread-safe."""

    def __init__(self, client: "redis.Redis", queue: str, settings: WebhooksSettings) -> None:
        self._redis = client
        self._names = Names(queue)
        limits = settings.model_dump(mode="json", exclude={"signing_key"})
        self._call = Calls(self._names, self._names.receiver_turns, limits)

    def claim(self, owner: str, most: int) -> ClaimedDeliveries:
        now, wait_s, entries = self._run(_CLAIM, owner, most)
        claimed = tuple(_outgoing(entry, owner, float(now)) for entry in entries)
        return ClaimedDeliveries(claimed, None if float(wait_s) < 0 else float(wait_s))

    def settle(self, outcomes: Sequence[AttemptOutcome]) -> list[bool]:
        args: list[str | float | bytes] = []
        for outcome in outcomes:
            delay_s = "" if outcome.delay_s is None else outcome.delay_s
            attempt = (
                outcome.attempt.model_dump_json(exclude_defaults=True) if outcome.attempt else ""
            )
            outgoing = outcome.outgoing
            args += [
                outgoing.delivery.id,
                outgoing.owner,
                outcome.result.value,
                delay_s,
                attempt,
                outcome.body,
                outcome.cooldown_s,
            ]
        return [answer == 1 for answer in self._run(_SETTLE, *args)]

    def sweep(self) -> SweptDeliveries:
        lost, given_up = (tuple(item.decode() for item in ids) for ids in self._run(_SWEEP))
        return SweptDeliveries(lost, given_up)

    def deliveries_for(self, kind: str, subject_id: str) -> list[Delivery]:
        events = ("start", "completed") if kind == "prediction" else (f"{kind}_completed",)
        return self._read([f"{subject_id}_{event}" for event in events])

    def get(self, delivery_id: str, key: str | None = None) -> Delivery:
        stored = self._read([delivery_id])
        if not stored or (key is not None and stored[0].key != key):
            raise unknown(delivery_id)
        return stored[0]

    def file_test(self, subject_id: str, url: str, key: str, body: bytes) -> Delivery:
        delivery_id = f"{subject_id}_test"
        self._run(_FILE_TEST, delivery_id, subject_id, url, key, body)
        return self.get(delivery_id)

    def redeliver(self, delivery_id: str, key: str | None = None) -> Delivery:
        self.get(delivery_id, key)
        answer = self._run(_REDELIVER, delivery_id)
        refuse(delivery_id, answer.decode() if isinstance(answer, bytes) else "")
        return self.get(delivery_id)

    def dead(self, first: int = 0, limit: int | None = None) -> list[Delivery]:
        last = -1 if limit is None else first + limit - 1
        with translated():
            members: Any = self._redis.zrevrange(self._names.deliveries_dead, first, last)
        return self._read([name.decode() for name in members])

    def waiting(self) -> int:
        with translated():
            return int(self._redis.zcard(self._names.deliveries_open))

    def _run(self, script: Script, *args: str | float | bytes) -> Any:
        with translated():
            return run(self._redis, self._call(script, *args))

    def _read(self, names: Sequence[str]) -> list[Delivery]:
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hmget(self._names.delivery(name), _SHOWN)
                pipe.lrange(self._names.delivery_log(name), 0, -1)
            answers = pipe.execute()
        deliveries = []
        for name, values, log in zip(names, answers[::2], answers[1::2], strict=True):
            if values[0] is not None:
                fields = {
                    field: value.decode()
                    for field, value in zip(_SHOWN, values, strict=True)
                    if value is not None
                }
                deliveries.append(
                    Delivery(
                        id=name, log=tuple(map(DeliveryAttempt.model_validate_json, log)), **fields
                    )
                )
        return deliveries


def unknown(delivery_id: str) -> NotFound:
    return NotFound(f"no delivery {delivery_id!r} is known; is the id right, and is it still kept?")


def refuse(delivery_id: str, why: str) -> None:
    """Raises what `redeliver` raises for the script's answer."""
    if why == "unknown":
        raise unknown(delivery_id)
    if why == "waiting":
        raise Conflict(f"delivery {delivery_id!r} is on its way already")
    if why == "ended":
        raise Conflict(
            f"delivery {delivery_id!r} would come after the prediction's end; redeliver the end"
        )
    if why == "gone":
        raise Gone(f"the record that delivery {delivery_id!r} is made from is not kept any more")


def _pairs(flat: Sequence[bytes] | None) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True)) if flat else {}


def _outgoing(entry: Sequence[Any], owner: str, at: float) -> OutgoingDelivery:
    name, flat, source, secrets = entry
    fields = _pairs(flat)
    shown = {field: fields[field.encode()].decode() for field in _SHOWN if field.encode() in fields}
    return OutgoingDelivery(
        Delivery(id=name.decode(), **shown),
        owner,
        at,
        fields.get(b"body"),
        _pairs(source),
        tuple(secrets.decode().split()) if secrets else (),
    )
