"""A delivery: one webhook event on its way to one URL. Pure: no store, no network.

All times are seconds since the epoch, by Redis's clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from sluice.prediction import trace_field


class DeliveryStatus(StrEnum):
    """The status of a delivery."""

    WAITING = "waiting"
    HELD = "held"
    """Waits until the `start` event, which is being sent, has arrived."""
    SENDING = "sending"
    DELIVERED = "delivered"
    SUPERSEDED = "superseded"
    """A `start` event whose prediction ended before it was delivered."""
    STOPPED = "stopped"
    """The URL answered 410."""
    DEAD = "dead"
    """Given up after its last attempt, or after too long."""


class DeliveryAttempt(BaseModel):
    """One attempt, as the log has it."""

    model_config = ConfigDict(frozen=True)

    at: float
    """Time of the claim."""
    duration_s: float
    status: int | None = None
    """HTTP status of the answer; None if there was no answer."""
    error: str | None = None
    """Code of the failure; None if the answer was read."""
    answer: str = ""
    """First kilobyte of the answer's body."""


class Delivery(BaseModel):
    """The record of a delivery."""

    model_config = ConfigDict(frozen=True)

    id: str
    kind: str
    """`prediction` or `batch`."""
    subject_id: str
    """Id of that prediction or batch."""
    event: str
    """`start` or `completed`."""
    url: str
    key: str
    """Name of the API key that submitted the prediction or batch."""
    status: DeliveryStatus
    created_at: float
    due: float | None = None
    """Time of the next attempt."""
    attempts: int = 0
    failures: int = 0
    """Number of attempts that failed."""
    reason: str | None = None
    """Code of why the delivery was given up or stopped."""
    log: tuple[DeliveryAttempt, ...] = ()
    """Attempts, the oldest first."""
    traceparent: str = ""
    """W3C trace context of the prediction or batch; empty without one."""
    tracestate: str = ""
    """The rest of that context."""

    @property
    def log_fields(self) -> dict[str, str]:
        """The fields of a log line about the delivery."""
        fields = {"delivery": self.id, self.kind: self.subject_id, "key": self.key}
        return fields | trace_field(self.traceparent)


@dataclass(frozen=True)
class OutgoingDelivery:
    """A claimed delivery with everything that an attempt needs."""

    delivery: Delivery
    owner: str
    """Unique to the claim."""
    at: float
    """Time of the claim."""
    body: bytes | None
    """Body of an earlier attempt; None if it must still be made from `source`."""
    source: Mapping[bytes, bytes]
    """Redis record of the prediction or batch."""
    secrets: tuple[str, ...]
    """Signing secrets of the key, the newest first; empty if the key has none yet."""


class AttemptResult(StrEnum):
    """How an attempt ended."""

    DELIVERED = "delivered"
    FAILED = "failed"
    GONE = "gone"
    """The receiver wants nothing more at the URL."""
    NOT_ATTEMPTED = "not_attempted"
    """The delivery was given back without an attempt."""


@dataclass(frozen=True)
class AttemptOutcome:
    """An ended attempt, as the ledger records it."""

    outgoing: OutgoingDelivery
    result: AttemptResult
    attempt: DeliveryAttempt | None = None
    """Entry for the log."""
    body: bytes = b""
    """Body that was sent, for the next attempt."""
    delay_s: float | None = None
    """Seconds until the next attempt after a failure; None if none follows."""
    cooldown_s: float = 0.0
    """Seconds in which the receiver gets no further attempts."""


class ClaimedDeliveries(NamedTuple):
    """The result of `claim`."""

    outgoing: tuple[OutgoingDelivery, ...]
    wait_s: float | None
    """Seconds until the next delivery may be due; None if nothing waits."""


class SweptDeliveries(NamedTuple):
    """The result of `sweep`. Ids of deliveries."""

    lost: tuple[str, ...]
    """Queued again, since their sender was lost."""
    given_up: tuple[str, ...]
    """Dead, since they failed for too long."""
