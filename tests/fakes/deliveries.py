"""Deliveries and the secrets of webhooks in memory."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from sluice.delivery import (
    AttemptOutcome,
    AttemptResult,
    ClaimedDeliveries,
    Delivery,
    DeliveryAttempt,
    DeliveryStatus,
    OutgoingDelivery,
    SweptDeliveries,
)
from sluice.ledger.deliveries import refuse, unknown
from sluice.settings import WebhooksSettings
from sluice.webhooks.secrets import no_other, two_already
from sluice.webhooks.signing import new_secret

SETTLED = {
    DeliveryStatus.DELIVERED,
    DeliveryStatus.SUPERSEDED,
    DeliveryStatus.STOPPED,
    DeliveryStatus.DEAD,
}


@dataclass
class _Row:
    delivery: Delivery
    opened_at: float
    owner: str = ""
    lapses_at: float = 0.0
    lapses: int = 0
    body: bytes | None = None
    turn: float = 0.0

    @property
    def receiver(self) -> tuple[str, str]:
        return self.delivery.key, urlsplit(self.delivery.url).netloc.lower()

    @property
    def endpoint(self) -> tuple[str, str]:
        return self.delivery.key, self.delivery.url.partition("?")[0]


@dataclass
class _Receiver:
    failures: int = 0
    pauses: int = 0
    paused_until: float = 0.0
    failing_since: float = 0.0


class MemoryDeliveries:
    """Keeps every delivery. `clock` gives seconds since the epoch."""

    def __init__(
        self, settings: WebhooksSettings | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings or WebhooksSettings()
        self._clock = clock
        self._rows: dict[str, _Row] = {}
        self._receivers: dict[tuple[str, str], _Receiver] = {}
        #: The last turns of keys and of receivers.
        self._turns: dict[str | tuple[str, str], int] = {}
        self._stopped: set[tuple[str, str]] = set()
        self._dead: list[str] = []
        #: The records that bodies are made from, by the prediction's or batch's id.
        self.records: dict[str, Mapping[bytes, bytes]] = {}
        self.secrets: MemorySecrets | None = None

    def file(
        self,
        subject_id: str,
        event: str,
        url: str,
        events: str = "",
        key: str = "default",
        kind: str = "prediction",
    ) -> None:
        """Record a delivery for an event, as the ledger's scripts do."""
        if events and event not in events.split(","):
            return
        name = f"{subject_id}_{event}" if kind == "prediction" else f"{subject_id}_{kind}_{event}"
        before = (
            self._rows.get(f"{subject_id}_start")
            if kind == "prediction" and event == "completed"
            else None
        )
        if before and before.delivery.status is DeliveryStatus.WAITING:
            self._set(before, status=DeliveryStatus.SUPERSEDED, due=None)
        now = self._clock()
        fields = {
            "id": name,
            "kind": kind,
            "subject_id": subject_id,
            "event": event,
            "url": url,
            "key": key,
            "created_at": now,
        }
        row = self._rows.setdefault(
            name, _Row(Delivery.model_validate(fields | {"status": DeliveryStatus.HELD}), now)
        )
        if not (before and before.delivery.status is DeliveryStatus.SENDING):
            self._set(row, status=DeliveryStatus.WAITING, due=now)

    def claim(self, owner: str, most: int) -> ClaimedDeliveries:
        now, claimed = self._clock(), []
        while len(claimed) < most and (row := self._next(now)):
            if outgoing := self._take(row, owner, now):
                claimed.append(outgoing)
        times = [self._free_at(row) for row in self._waiting() if self._has_room(row)]
        return ClaimedDeliveries(tuple(claimed), max(0.0, min(times) - now) if times else None)

    def _take(self, row: _Row, owner: str, now: float) -> OutgoingDelivery | None:
        self._turns[row.delivery.key] = self._turns[row.receiver] = 1 + max(
            self._turns.values(), default=0
        )
        if row.endpoint in self._stopped:
            return self._bury(row, DeliveryStatus.STOPPED, "endpoint_gone")
        if row.body is None and row.delivery.subject_id not in self.records:
            return self._bury(row, DeliveryStatus.DEAD, "record_gone")
        if row.delivery.attempts == 0:
            row.opened_at = now
        self._set(row, status=DeliveryStatus.SENDING, due=None, attempts=row.delivery.attempts + 1)
        row.owner, row.lapses_at = owner, now + self._settings.lease_s
        source = {} if row.body else self.records[row.delivery.subject_id]
        secrets = self.secrets.by_key.get(row.delivery.key, ()) if self.secrets else ()
        return OutgoingDelivery(
            row.delivery.model_copy(update={"log": ()}), owner, now, row.body, source, secrets
        )

    def settle(self, outcomes: Sequence[AttemptOutcome]) -> list[bool]:
        return [self._settle(outcome) for outcome in outcomes]

    def sweep(self) -> SweptDeliveries:
        now, lost, given_up = self._clock(), [], []
        for name, row in self._rows.items():
            if row.delivery.status is DeliveryStatus.SENDING and row.lapses_at <= now:
                row.lapses += 1
                self._log(
                    row,
                    DeliveryAttempt(at=now, duration_s=self._settings.lease_s, error="sender_lost"),
                )
                self._again(row, now + min(600, (row.lapses - 1) ** 2))
                lost.append(name)
        long_ago = now - self._settings.give_up_s
        for name, row in self._rows.items():
            receiver = self._receivers.get(row.receiver)
            failing = (
                receiver is not None
                and receiver.failures > 0
                and receiver.failing_since <= long_ago
            )
            tried = row.delivery.attempts > 0
            if (
                row.delivery.status is DeliveryStatus.WAITING
                and row.opened_at <= long_ago
                and (tried or failing)
            ):
                self._bury(row, DeliveryStatus.DEAD, "age")
                given_up.append(name)
        return SweptDeliveries(tuple(lost), tuple(given_up))

    def deliveries_for(self, kind: str, subject_id: str) -> list[Delivery]:
        return [
            row.delivery
            for row in self._rows.values()
            if (row.delivery.kind, row.delivery.subject_id) == (kind, subject_id)
        ]

    def get(self, delivery_id: str, key: str | None = None) -> Delivery:
        row = self._rows.get(delivery_id)
        if row is None or (key is not None and row.delivery.key != key):
            raise unknown(delivery_id)
        return row.delivery

    def file_test(self, subject_id: str, url: str, key: str, body: bytes) -> Delivery:
        now = self._clock()
        delivery = Delivery(
            id=f"{subject_id}_test",
            kind="webhook",
            subject_id=subject_id,
            event="test",
            url=url,
            key=key,
            status=DeliveryStatus.WAITING,
            created_at=now,
            due=now,
        )
        self._rows[delivery.id] = _Row(delivery, now, body=body)
        return delivery

    def redeliver(self, delivery_id: str, key: str | None = None) -> Delivery:
        self.get(delivery_id, key)
        row = self._rows[delivery_id]
        if row.delivery.status not in SETTLED:
            refuse(delivery_id, "waiting")
        if row.delivery.event == "start" and f"{row.delivery.subject_id}_completed" in self._rows:
            refuse(delivery_id, "ended")
        if row.body is None and row.delivery.subject_id not in self.records:
            refuse(delivery_id, "gone")
        if delivery_id in self._dead:
            self._dead.remove(delivery_id)
        self._stopped.discard(row.endpoint)
        self._receivers.setdefault(row.receiver, _Receiver()).paused_until = 0
        row.opened_at, row.lapses = self._clock(), 0
        self._set(row, status=DeliveryStatus.WAITING, due=self._clock(), failures=0, reason=None)
        return row.delivery

    def dead(self, first: int = 0, limit: int | None = None) -> list[Delivery]:
        names = self._dead[-self._settings.max_dead :][::-1]
        names = names[first : None if limit is None else first + limit]
        return [self._rows[name].delivery for name in names]

    def waiting(self) -> int:
        return sum(row.delivery.status not in SETTLED for row in self._rows.values())

    def _waiting(self) -> list[_Row]:
        return [row for row in self._rows.values() if row.delivery.status is DeliveryStatus.WAITING]

    def _free_at(self, row: _Row) -> float:
        receiver = self._receivers.get(row.receiver, _Receiver())
        return max(row.delivery.due or 0.0, receiver.paused_until)

    def _has_room(self, row: _Row) -> bool:
        failing = (
            self._receivers.get(row.receiver, _Receiver()).failures >= self._settings.pause_after
        )
        sent = [
            other.receiver
            for other in self._rows.values()
            if other.delivery.status is DeliveryStatus.SENDING
        ]
        sent_of_key = [receiver for receiver in sent if receiver[0] == row.delivery.key]
        slots = 1 if failing else self._settings.max_per_receiver
        return sent.count(row.receiver) < slots and len(sent_of_key) < self._settings.max_per_key

    def _next(self, now: float) -> _Row | None:
        due = [row for row in self._waiting() if self._free_at(row) <= now and self._has_room(row)]
        turn = self._turns.get
        return min(
            due,
            key=lambda row: (turn(row.delivery.key, 0), turn(row.receiver, 0), row.delivery.due),
            default=None,
        )

    def _settle(self, outcome: AttemptOutcome) -> bool:
        row = self._rows[outcome.outgoing.delivery.id]
        if row.delivery.status is not DeliveryStatus.SENDING or row.owner != outcome.outgoing.owner:
            return False
        now = self._clock()
        if outcome.result is AttemptResult.NOT_ATTEMPTED:
            self._set(row, attempts=row.delivery.attempts - 1)
            self._again(row, now)
            return True
        assert outcome.attempt is not None
        self._log(row, outcome.attempt)
        if outcome.result is not AttemptResult.GONE:
            self._judge(row, outcome, now)
        if outcome.result is AttemptResult.DELIVERED:
            self._set(row, status=DeliveryStatus.DELIVERED)
            row.body = None
        else:
            row.body = outcome.body
            self._set(row, failures=row.delivery.failures + 1)
        if outcome.result is AttemptResult.GONE:
            self._stopped.add(row.endpoint)
            self._bury(row, DeliveryStatus.STOPPED, "endpoint_gone")
        elif outcome.result is AttemptResult.FAILED and outcome.delay_s is None:
            self._bury(row, DeliveryStatus.DEAD, "attempts")
        elif outcome.result is AttemptResult.FAILED:
            assert outcome.delay_s is not None
            self._again(row, now + outcome.delay_s)
        self._release_held(row)
        return True

    def _judge(self, row: _Row, outcome: AttemptOutcome, now: float) -> None:
        if outcome.result is AttemptResult.DELIVERED:
            self._receivers.pop(row.receiver, None)
            return
        receiver = self._receivers.setdefault(row.receiver, _Receiver())
        receiver.failures += 1
        if receiver.failures == 1:
            receiver.failing_since = now
        until = now + outcome.cooldown_s
        if receiver.failures >= self._settings.pause_after and receiver.paused_until <= now:
            until = max(
                until,
                now
                + min(
                    self._settings.longest_pause_s,
                    self._settings.first_pause_s * 2**receiver.pauses,
                ),
            )
            receiver.pauses += 1
        receiver.paused_until = max(receiver.paused_until, until)

    def _again(self, row: _Row, at: float) -> None:
        if self._release_held(row):
            self._set(row, status=DeliveryStatus.SUPERSEDED)
        else:
            self._set(row, status=DeliveryStatus.WAITING, due=at)

    def _release_held(self, row: _Row) -> bool:
        after = (
            self._rows.get(f"{row.delivery.subject_id}_completed")
            if row.delivery.event == "start"
            else None
        )
        if after and after.delivery.status is DeliveryStatus.HELD:
            self._set(after, status=DeliveryStatus.WAITING, due=self._clock())
        return after is not None

    def _bury(self, row: _Row, status: DeliveryStatus, reason: str) -> None:
        self._set(row, status=status, reason=reason, due=None)
        self._dead.append(row.delivery.id)

    def _log(self, row: _Row, attempt: DeliveryAttempt) -> None:
        self._set(row, log=(*row.delivery.log, attempt)[-self._settings.max_logged :])

    def _set(self, row: _Row, **fields: object) -> None:
        row.delivery = row.delivery.model_copy(update=fields)


@dataclass
class MemorySecrets:
    """The newest secret of a key comes first."""

    by_key: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def for_key(self, key: str) -> tuple[str, ...]:
        return self.by_key.setdefault(key, (new_secret(),))

    def rotate(self, key: str) -> None:
        secrets = self.by_key.get(key, ())
        if len(secrets) > 1:
            raise two_already(key)
        self.by_key[key] = (new_secret(), *secrets)

    def retire(self, key: str) -> None:
        secrets = self.by_key.get(key, ())
        if len(secrets) < 2:
            raise no_other(key)
        self.by_key[key] = secrets[:1]
