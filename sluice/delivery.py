"""A delivery: one webhook event on its way to one URL. Pure: no store, no network."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict


class DeliveryStatus(StrEnum):
    """`held` waits until a `start` that is being sent has arrived. `superseded` is a `start` whose prediction ended before it
    was delivered, `stopped` one whose URL has answered 410, `dead` one that was given up.
    """

    WAITING = "waiting"
    HELD = "held"
    SENDING = "sending"
    DELIVERED = "delivered"
    SUPERSEDED = "superseded"
    STOPPED = "stopped"
    DEAD = "dead"


class DeliveryAttempt(BaseModel):
    """`status` is the answer's, None where there was none; `error` says what went wrong; `answer` is the body's first kilobyte."""

    model_config = ConfigDict(frozen=True)

    at: float
    duration_s: float
    status: int | None = None
    error: str | None = None
    answer: str = ""


class Delivery(BaseModel):
    """One event (`start` or `completed`) of a prediction or batch, `kind` and `of`, on its way to `url`."""

    model_config = ConfigDict(frozen=True)

    id: str
    kind: str
    subject_id: str
    event: str
    url: str
    key: str
    status: DeliveryStatus
    created_at: float
    due: float | None = None
    attempts: int = 0
    failures: int = 0
    reason: str | None = None
    log: tuple[DeliveryAttempt, ...] = ()


@dataclass(frozen=True)
class OutgoingDelivery:
    """A claimed delivery: what its attempt is made from. `body` is what was sent before; where it is None, it is to be made from
    `source`, the record of the prediction or batch. `secrets` may be empty: its key has none yet. `at` is the time of the claim.
    """

    delivery: Delivery
    owner: str
    at: float
    body: bytes | None
    source: Mapping[bytes, bytes]
    secrets: tuple[str, ...]


class AttemptResult(StrEnum):
    DELIVERED = "delivered"
    FAILED = "failed"
    GONE = "gone"  # the receiver says that nothing more is wanted at this URL
    NOT_ATTEMPTED = "not_attempted"  # no attempt was made


@dataclass(frozen=True)
class AttemptOutcome:
    """How an attempt went. After a failure the next one comes in `delay_s`, or never where that is None; the receiver is left
    alone for `rest_s`.
    """

    outgoing: OutgoingDelivery
    result: AttemptResult
    attempt: DeliveryAttempt | None = None
    body: bytes = b""
    delay_s: float | None = None
    cooldown_s: float = 0.0


class ClaimedDeliveries(NamedTuple):
    """`wait_s`: when the next one may be sent, as far as is known now; None where nothing waits."""

    outgoing: tuple[OutgoingDelivery, ...]
    wait_s: float | None


class SweptDeliveries(NamedTuple):
    lost: tuple[str, ...]
    given_up: tuple[str, ...]
