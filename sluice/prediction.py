"""A prediction: one submitted image and its life. Pure: no clock, no store, no network.

                 ┌────────── lease lapsed, or a failure that may pass ──────────┐
                 ▼                                                              │
             starting ──claim──▶ processing ──▶ succeeded | failed | canceled ──┘ (only while processing)
                 └──▶ canceled | aborted | failed

A status changes only along `TRANSITIONS`; every ledger enforces this same table.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from sluice.errors import Conflict


class Status(StrEnum):
    STARTING = "starting"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    ABORTED = "aborted"

    @property
    def terminal(self) -> bool:
        return not TRANSITIONS[self]


TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.STARTING: frozenset({Status.PROCESSING, Status.FAILED, Status.CANCELED, Status.ABORTED}),
    Status.PROCESSING: frozenset(
        {Status.SUCCEEDED, Status.FAILED, Status.CANCELED, Status.STARTING}
    ),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELED: frozenset(),
    Status.ABORTED: frozenset(),
}


def check_transition(before: Status, after: Status) -> None:
    """Raises Conflict where the table has no way from `before` to `after`."""
    if after not in TRANSITIONS[before]:
        raise Conflict(f"a prediction that is {before} can't become {after}")


class Parameters(BaseModel):
    """What the caller asks of the detections; every field has the design's default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    confidence: float = Field(
        0.25, ge=0, le=1, description="Detections below this score are left out."
    )
    iou: float = Field(
        0.45,
        ge=0,
        le=1,
        description="Of two boxes that overlap by more than this, the weaker is left out.",
    )
    max_detections: int = Field(
        300, ge=1, le=1000, description="At most this many detections, the strongest first."
    )
    classes: tuple[Annotated[str, Field(max_length=255)] | int, ...] | None = Field(
        None, max_length=1000, description="Only these classes, by name or id; all where absent."
    )
    class_agnostic: bool = Field(
        False, description="Suppress overlaps across classes, not only within one."
    )
    visualize: bool = Field(
        False, description="Also draw the detections; see `GET /v1/predictions/{id}/image`."
    )


class Priority(StrEnum):
    """Within the queue; see `CLAIM` in `ledger_scripts.py` for how much each gets."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Submission(BaseModel):
    """What a caller submits, but for the image's bytes.

    `image_url` is where a worker gets the image, where it did not come with the request. `start_within_s` is the deadline, counted
    from the submission. `webhook_events` are those that `webhook` is told of. `base_url` is where the caller reached the api.
    Whoever has the `ticket` may follow the prediction's events without a key; there is none where keys are off.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    parameters: Parameters = Parameters()
    key: str = "default"
    priority: Priority = Priority.NORMAL
    metadata: dict[str, Any] = Field(
        default_factory=dict
    )  # pydantic copies a default deeply, for each one
    image_url: str | None = None
    start_within_s: float | None = None
    webhook: str | None = None
    webhook_events: tuple[str, ...] = ()
    base_url: str = ""
    ticket: str = ""
    batch: str | None = None


class Problem(BaseModel):
    """Why a prediction failed: a stable code for programs, a sentence for people."""

    model_config = ConfigDict(frozen=True)

    code: str
    message: str


class Prediction(Submission):
    """The record. Times are seconds since the epoch by Redis's clock; `output` and `metrics` are as the API gives them.

    `attempts` counts claims, `retries` those that were given back because a part was away. `digest` tells one submission under
    an id from another; see `digest`. `logs` has a line for each attempt.
    """

    id: str
    status: Status
    created_at: float
    started_at: float | None = None
    completed_at: float | None = None
    attempts: int = 0
    retries: int = 0
    digest: str = ""
    output: dict[str, Any] | None = None
    error: Problem | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    logs: str = ""
    canceled_from: Status | None = None


def digest(image: bytes, submission: Submission) -> str:
    """SHA-256 of all that makes a submission, in hex. Where the api was reached is no part of it, nor is the ticket."""
    found = hashlib.sha256(image)
    found.update(b"\0" + submission.model_dump_json(exclude={"base_url", "ticket"}).encode())
    return found.hexdigest()


class Claim(BaseModel):
    """One worker's hold on one prediction. The owner is unique to the attempt, so that a stale one is told apart."""

    model_config = ConfigDict(frozen=True)

    prediction: Prediction
    owner: str


def isoformat(seconds: float | None) -> str | None:
    """Seconds since the epoch as RFC 3339 in UTC with microseconds, or None."""
    if seconds is None:
        return None
    return (
        datetime.fromtimestamp(seconds, UTC)
        .isoformat(timespec="microseconds")
        .replace("+00:00", "Z")
    )
