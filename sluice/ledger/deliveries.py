"""The deliveries: every webhook event on its way to one URL, in Redis beside the predictions, changed only by atomic scripts.

The ledger files them (`FILE` in `sluice/ledger/delivery_scripts.py`), in the step that records the status. A receiver is a host, for one
API key: attempts at it are bounded, it is paused while it keeps failing, and it has a queue of its own, so that it delays no other.
Keys take turns, and within a key its receivers; the attempts for one key are bounded too.

    {default}:delivery:<id>             hash    one delivery; expires
    {default}:delivery-log:<id>         list    its last attempts, as JSON; expires with it
    {default}:deliveries                zset    ids that are due or being sent, but for those of a paused receiver
    {default}:deliveries-open           zset    ids that are not settled, scored by the first attempt, or by when they were filed
    {default}:deliveries-sending        zset    ids that are being sent, scored by the time at which the claim lapses
    {default}:deliveries-dead           zset    ids of dead deliveries, scored by their end
    {default}:receiver-turns            zset    keys with something to send, scored by the time at which one may be tried
    {default}:receivers:<key>           zset    such receivers of one key, scored likewise; a receiver is <key>/<SHA-1 of its host>
    {default}:receiver:<receiver>       hash    how it fails and until when it is paused, while it fails; expires
    {default}:receiver-ready:<receiver> zset    ids that wait for it, scored by when they are due
    {default}:receiver-sending:<…>      set     ids that are being sent to it, by all senders
    {default}:key-sending:<key>         set     likewise, to all of a key's receivers
    {default}:endpoint-stopped:<…>      string  empty; a URL that has answered 410; expires
    {default}:webhook-secrets           hash    each key's secrets, the newest first: configuration, the one thing here without end
    {default}:deliveries-news           channel: something is due

KEDA reads `{default}:deliveries` for how many senders are of use (`listLength` some hundreds: a sender makes hundreds a second),
and, as a second trigger, `{default}:deliveries-open` with a `listLength` so large that it asks for one: retries wait for hours, and
somebody must be there when they are due. All times are Redis's own, in seconds since the epoch.
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
from sluice.ledger.delivery_scripts import CLAIM, REDELIVER, SETTLE, SWEEP
from sluice.redisio.connection import translated
from sluice.settings import WebhooksSettings

_SCRIPTS = {"claim": CLAIM, "settle": SETTLE, "sweep": SWEEP, "redeliver": REDELIVER}
_LIMITS = {
    *(
        "lease_s",
        "max_per_receiver",
        "max_per_key",
        "pause_after",
        "first_pause_s",
        "longest_pause_s",
        "stop_s",
        "give_up_s",
    ),
    *("keep_s", "retention_s", "max_dead", "max_logged", "max_output_bytes"),
}
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
)


class Deliveries(Protocol):
    """Every implementation passes `tests/contract/test_deliveries.py`. All raise RedisUnavailable when the store is away."""

    def claim(self, owner: str, most: int) -> ClaimedDeliveries:
        """Take at most so many that are due, keys in turn, and a key's receivers in turn. `owner` must be new for every call."""

    def settle(self, outcomes: Sequence[AttemptOutcome]) -> list[bool]:
        """Record how attempts went; False where the claim had lapsed, and nothing was changed."""

    def sweep(self) -> SweptDeliveries:
        """Have sent again what lost its sender, and give up what is past its time. Costs what is due, not what is stored."""

    def deliveries_for(self, kind: str, of: str) -> list[Delivery]:
        """The deliveries of one prediction or batch with their logs, the oldest first."""

    def redeliver(self, delivery_id: str, key: str | None = None) -> Delivery:
        """Send once more what is settled, with the same id. With `key`, another key's is unknown.

        Raises NotFound, Conflict where it is on its way or would come after the prediction's end, Gone where what it was made
        from is not kept any more.
        """

    def dead(self) -> list[Delivery]:
        """Those given up, or stopped by a 410, with their logs, the newest first."""

    def waiting(self) -> int:
        """How many are not settled."""


class RedisDeliveries:
    """The deliveries of the queue named `queue`, in Redis 6.2 or later. Thread-safe."""

    def __init__(self, client: "redis.Redis", queue: str, settings: WebhooksSettings) -> None:
        self._redis = client
        self._tag = f"{{{queue}}}"
        self._limits = settings.model_dump_json(include=_LIMITS)
        self._scripts = {name: client.register_script(text) for name, text in _SCRIPTS.items()}

    def claim(self, owner: str, most: int) -> ClaimedDeliveries:
        with translated():
            now, wait_s, found = self._scripts["claim"](
                keys=self._keys, args=[self._tag, self._limits, owner, most]
            )
        claimed = tuple(_outgoing(entry, owner, float(now)) for entry in found)
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
        with translated():
            answers = self._scripts["settle"](
                keys=self._keys, args=[self._tag, self._limits, *args]
            )
        return [answer == 1 for answer in answers]

    def sweep(self) -> SweptDeliveries:
        with translated():
            found = self._scripts["sweep"](keys=self._keys, args=[self._tag, self._limits])
        lost, given_up = (tuple(item.decode() for item in names) for names in found)
        return SweptDeliveries(lost, given_up)

    def deliveries_for(self, kind: str, of: str) -> list[Delivery]:
        events = ("start", "completed") if kind == "prediction" else (f"{kind}_completed",)
        return self._read([f"{of}_{event}" for event in events])

    def redeliver(self, delivery_id: str, key: str | None = None) -> Delivery:
        found = self._read([delivery_id])
        if not found or (key is not None and found[0].key != key):
            raise unknown(delivery_id)
        with translated():
            said = self._scripts["redeliver"](
                keys=self._keys, args=[self._tag, self._limits, delivery_id]
            )
        refuse(delivery_id, said.decode() if isinstance(said, bytes) else "")
        return self._read([delivery_id])[0]

    def dead(self) -> list[Delivery]:
        with translated():
            found: Any = self._redis.zrevrange(f"{self._tag}:deliveries-dead", 0, -1)
        return self._read([name.decode() for name in found])

    def waiting(self) -> int:
        with translated():
            return int(self._redis.zcard(f"{self._tag}:deliveries-open"))

    @property
    def _keys(self) -> list[str]:
        return [f"{self._tag}:receiver-turns"]

    def _read(self, names: Sequence[str]) -> list[Delivery]:
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hmget(f"{self._tag}:delivery:{name}", _SHOWN)
                pipe.lrange(f"{self._tag}:delivery-log:{name}", 0, -1)
            answers = pipe.execute()
        found = []
        for name, values, log in zip(names, answers[::2], answers[1::2], strict=True):
            if values[0] is not None:
                fields = {
                    field: value.decode()
                    for field, value in zip(_SHOWN, values, strict=True)
                    if value is not None
                }
                found.append(
                    Delivery(
                        id=name, log=tuple(map(DeliveryAttempt.model_validate_json, log)), **fields
                    )
                )
        return found


def unknown(delivery_id: str) -> NotFound:
    return NotFound(f"no delivery {delivery_id!r} is known; is the id right, and is it kept still?")


def refuse(delivery_id: str, why: str) -> None:
    """Raises what `redeliver` raises for the script's answer."""
    if why == "unknown":
        raise unknown(delivery_id)
    if why == "waiting":
        raise Conflict(f"delivery {delivery_id!r} is on its way already")
    if why == "ended":
        raise Conflict(
            f"delivery {delivery_id!r} would come after the prediction's end; redeliver that"
        )
    if why == "gone":
        raise Gone(f"what delivery {delivery_id!r} was made from is not kept any more")


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
