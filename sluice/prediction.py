"""A prediction: one submitted image and its life. Pure: no clock, no store, no network.

         ┌──── lease lapsed, or retry ────┐
         ▼                                │
     starting ────────── claim ──────▶ processing ──▶ succeeded | failed | canceled
         └──▶ failed | canceled | aborted

A status changes only along `TRANSITIONS`. Every ledger enforces the same table.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sluice.errors import Conflict
from sluice.slicing import OptionalSlicing


class Status(StrEnum):
    """The status of a prediction, with Replicate's names.

    `starting` means queued. `processing` means claimed by a worker.
    `aborted` means that the deadline passed before a worker started.
    """

    STARTING = "starting"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    ABORTED = "aborted"

    @property
    def terminal(self) -> bool:
        """True if the status is final."""
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
    """Raises Conflict if the table has no transition from `before` to `after`."""
    if after not in TRANSITIONS[before]:
        raise Conflict(f"a prediction that is {before} can't become {after}")


OutputFormat = Literal["jpg", "png", "webp"]


class Parameters(BaseModel):
    """How detections are filtered and drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    confidence: float = Field(0.25, ge=0, le=1, description="Minimum score of a detection.")
    iou: float = Field(
        0.45,
        ge=0,
        le=1,
        description="Overlap (IoU) above which the lower-scored of two boxes is left out.",
    )
    max_detections: int = Field(
        300, ge=1, le=1000, description="Maximum detections, the highest scores first."
    )
    classes: tuple[Annotated[str, Field(max_length=255)] | int, ...] | None = Field(
        None,
        max_length=1000,
        description="Classes to detect, by name or id. All classes where absent. Text that is a"
        " class's name names it; other digits are an id. A name stands for all classes of it.",
    )
    class_agnostic: bool = Field(
        False, description="Suppress overlaps across classes, not only within one."
    )
    visualize: bool = Field(
        False, description="Also draw the detections; see `GET /v1/predictions/{id}/image`."
    )
    # Left out where it is the default: a record, and the digest of a submission, are then the same
    # as those of versions without this parameter.
    output_format: OutputFormat = Field(
        "jpg",
        exclude_if=lambda value: value == "jpg",
        description="The annotated image's format, where `visualize` is set.",
    )
    slice: OptionalSlicing = Field(
        None,
        exclude_if=lambda value: value is None,
        description="Cuts a large image into tiles, for small objects: `true`, a tile's side in"
        " pixels, or an object. For models that detect, segment, or find turned boxes (obb).",
        examples=[True, 640, {"size": [480, 640], "overlap": 0.3}],
    )


class Priority(StrEnum):
    """Priority within the queue. No priority starves another."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Submission(BaseModel):
    """A caller's request for one prediction, without the image's bytes."""

    model_config = ConfigDict(frozen=True)

    model: str
    """Name of the model."""
    parameters: Parameters = Parameters()
    key: str = "default"
    """Name of the caller's API key; `default` where keys are off."""
    priority: Priority = Priority.NORMAL
    metadata: dict[str, Any] = Field(default_factory=dict)  # cheaper than a deep copy of a default
    """The caller's own data, returned unchanged."""
    image_url: str | None = None
    """URL that a worker fetches the image from; None if the image came with the request."""
    start_within_s: float | None = None
    """Seconds after the submission in which the prediction must start."""
    webhook: str | None = None
    """URL that receives events."""
    webhook_events: tuple[str, ...] = ()
    """Events that `webhook` receives."""
    base_url: str = ""
    """Base URL under which the caller reached the api."""
    ticket: str = ""
    """Secret that lets its holder follow the events without a key; empty where keys are off."""
    batch: str | None = None
    """Id of the batch that the prediction belongs to."""
    traceparent: str = ""
    """W3C trace context of the caller, or of the api's span; empty without one."""
    tracestate: str = ""
    """The rest of that context."""


class Problem(BaseModel):
    """The reason why a prediction failed."""

    model_config = ConfigDict(frozen=True)

    code: str
    """Stable, for programs."""
    message: str
    """One sentence, for people."""


class Prediction(Submission):
    """The record of a prediction. Times are seconds since the epoch, by Redis's clock."""

    id: str
    status: Status
    created_at: float
    started_at: float | None = None
    """Time of the last claim."""
    completed_at: float | None = None
    queued_at: float | None = None
    """Time at which an attempt gave the prediction back, or lost it; None before."""
    attempts: int = 0
    """Number of claims."""
    retries: int = 0
    """Number of attempts that were given back because something was unavailable."""
    digest: str = ""
    """Result of `digest`, which tells two submissions under one id apart."""
    output: dict[str, Any] | None = None
    """Detections, in the form of the API."""
    error: Problem | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    """Seconds of each stage, with the names of the API."""
    logs: str = ""
    """One line for each attempt."""
    canceled_from: Status | None = None
    """Status in which a canceled prediction was."""

    @property
    def waited_s(self) -> float:
        """Seconds from the time when the prediction was queued to the last claim."""
        queued_at = self.queued_at or self.created_at
        return max(0.0, (self.started_at or queued_at) - queued_at)

    @property
    def log_fields(self) -> dict[str, str]:
        """The fields of a log line about the prediction."""
        fields = {"prediction": self.id, "key": self.key, "model": self.model}
        return fields | trace_field(self.traceparent)


def trace_field(traceparent: str) -> dict[str, str]:
    """The field `trace_id` of a log line; empty without a trace."""
    return {"trace_id": traceparent.split("-")[1]} if traceparent else {}


PER_REQUEST = {"base_url", "ticket", "traceparent", "tracestate"}
"""Fields that differ when a caller repeats a request."""


def digest(image: bytes, submission: Submission) -> str:
    """SHA-256 of a submission and its image, in hex, without the fields of one request alone."""
    sha256 = hashlib.sha256(image)
    sha256.update(b"\0" + submission.model_dump_json(exclude=PER_REQUEST).encode())
    return sha256.hexdigest()


class Claim(BaseModel):
    """One attempt: a worker's lease on a prediction."""

    model_config = ConfigDict(frozen=True)

    prediction: Prediction
    owner: str
    """Unique to the attempt, so that a stale attempt is recognised."""


def isoformat(seconds: float | None) -> str | None:
    """Seconds since the epoch as RFC 3339 in UTC with microseconds, or None."""
    if seconds is None:
        return None
    return (
        datetime.fromtimestamp(seconds, UTC)
        .isoformat(timespec="microseconds")
        .replace("+00:00", "Z")
    )
