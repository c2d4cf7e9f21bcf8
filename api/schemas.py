"""What the api answers beside predictions, which are in `sluice/resources.py`."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from sluice.delivery import Delivery, DeliveryAttempt, DeliveryStatus
from sluice.file import File
from sluice.models import Layout, Task
from sluice.prediction import isoformat
from sluice.resources import BatchAnswer, PredictionAnswer


class ProblemAnswer(BaseModel):
    """An error, RFC 9457."""

    type: str
    title: str
    status: int
    detail: str = Field(description="For people: what is wrong, and what to change.")
    code: str = Field(description="For programs; stable.")
    errors: list[dict[str, str]] = Field([], description="One for each wrong field.")


class PredictionPage(BaseModel):
    """Predictions, the newest first."""

    previous: str | None = Field(description="The URL of the page with newer ones, or null.")
    next: str | None = Field(
        description="The URL of the page with older ones, or null. A page may be short and have a next one."
    )
    results: list[PredictionAnswer]


class BatchPage(BaseModel):
    """A batch's predictions, in the order of the images."""

    previous: str | None = Field(
        description="The URL of the page with the images before these, or null."
    )
    next: str | None = Field(
        description="The URL of the page with the images after these, or null."
    )
    results: list[PredictionAnswer]


class QueueAnswer(BaseModel):
    """How busy the service is."""

    backlog: int = Field(description="Predictions that are queued or running.")
    processing: int = Field(description="Of these, those that run.")
    oldest_s: float = Field(
        description="Seconds since the oldest of them was submitted; 0 when there is none."
    )
    workers: int = Field(description="Worker processes that were heard of lately.")
    per_s: float = Field(
        description="How many ended in a second while others waited, in the best ten seconds of the last minute."
    )
    estimated_wait_s: float | None = Field(
        description="Until a prediction submitted now would end; null where nothing tells."
    )


class AttemptAnswer(BaseModel):
    """One attempt at a delivery."""

    at: str
    duration_s: float
    status: int | None = Field(
        description="Of the receiver's answer, or null where there was none."
    )
    error: str | None = Field(
        description="What went wrong, such as `timeout`; null where the answer came whole."
    )
    answer: str = Field(description="The answer's first kilobyte.")

    @classmethod
    def from_attempt(cls, attempt: DeliveryAttempt) -> "AttemptAnswer":
        return cls(at=isoformat(attempt.at) or "", **attempt.model_dump(exclude={"at"}))


class DeliveryAnswer(BaseModel):
    """One event on its way to a webhook."""

    id: str = Field(description="Also the header `webhook-id`.")
    type: str = Field(examples=["prediction.completed"])
    url: str
    status: DeliveryStatus = Field(
        description="`held`: the `start` before it is on its way. `superseded`: the prediction ended before this start arrived."
        " `stopped`: its URL has answered 410. `dead`: given up."
    )
    reason: str | None = Field(description="Why it is `dead` or `stopped`.")
    created_at: str
    next_attempt_at: str | None
    attempts: int = Field(description="How many there were; `log` has the last ones.")
    log: list[AttemptAnswer]

    @classmethod
    def from_delivery(cls, delivery: Delivery) -> "DeliveryAnswer":
        return cls(
            id=delivery.id,
            type=f"{delivery.kind}.{delivery.event}",
            url=delivery.url,
            status=delivery.status,
            reason=delivery.reason,
            created_at=isoformat(delivery.created_at) or "",
            next_attempt_at=isoformat(delivery.due),
            attempts=delivery.attempts,
            log=[AttemptAnswer.from_attempt(attempt) for attempt in delivery.log],
        )


class DeliveryList(BaseModel):
    """A prediction's webhook events, the oldest first."""

    results: list[DeliveryAnswer]


class ToldPrediction(PredictionAnswer):
    output_url: str | None = Field(
        None, description="Only where `output` was too long: GET it here."
    )


class PredictionEvent(BaseModel):
    """What a webhook is sent, in the form of Standard Webhooks."""

    type: Literal["prediction.start", "prediction.completed"]
    timestamp: str = Field(description="When it happened.")
    data: ToldPrediction


class BatchEvent(BaseModel):
    """What a batch's webhook is sent."""

    type: Literal["batch.completed"]
    timestamp: str = Field(description="When it happened.")
    data: BatchAnswer


class SecretAnswer(BaseModel):
    """What your webhooks are signed with."""

    key: str = Field(description="`whsec_…`, the newest one; keep it secret.")


class FileUrls(BaseModel):
    get: str = Field(description="This file; give it as `input.image` to submit it.")


class FileAnswer(BaseModel):
    """An uploaded file."""

    id: str
    name: str
    content_type: str
    size: int = Field(description="In bytes.")
    etag: str = Field(description="The SHA-256 once more.")
    checksums: dict[str, str] = Field(description="`sha256`, in hex.")
    metadata: dict[str, Any] = Field(description="As it was uploaded.")
    created_at: str
    expires_at: str
    urls: FileUrls

    @classmethod
    def from_file(cls, file: File, base_url: str) -> "FileAnswer":
        """`base_url` is where the client reaches the api, with no slash at its end."""
        return cls(
            etag=file.sha256,
            checksums={"sha256": file.sha256},
            created_at=isoformat(file.created_at) or "",
            expires_at=isoformat(file.expires_at) or "",
            urls=FileUrls(get=f"{base_url}/v1/files/{file.id}"),
            **file.model_dump(include={"id", "name", "content_type", "size", "metadata"}),
        )


class FilePage(BaseModel):
    """All your files, the newest first."""

    previous: None = None
    next: None = None
    results: list[FileAnswer]


class InputSize(BaseModel):
    width: int
    height: int


class VersionAnswer(BaseModel):
    """The one version that each model has here: as it is loaded."""

    id: str = Field(description="The model's name; give it as `version` to submit to this model.")
    created_at: str = Field(description="When this process of the service first saw the model.")
    cog_version: str = Field("", description="Always empty.")
    openapi_schema: dict[str, Any] = Field(
        description="`components.schemas` has `Input` and `Output`."
    )


class ModelAnswer(BaseModel):
    """A model, as Triton has it. What is not loaded has no task, layout, classes, input or version."""

    name: str
    default: bool = Field(description="Whether it takes what is submitted to no model by name.")
    ready: bool
    reason: str | None = Field(description="Why it is not ready.")
    version: str | None = Field(description="Triton's version of it that is served.")
    task: Task | None
    layout: Layout | None = Field(description="Of the model's outputs.")
    classes: list[str] | None = Field(description="Their names; a class's id is its place, from 0.")
    input: InputSize | None = Field(description="What images are scaled to, in pixels.")
    run_count: int = Field(
        description="Images that one Triton has run through it since it loaded it."
    )
    owner: Literal["sluice"] = "sluice"
    url: str = Field(description="This model.")
    visibility: Literal["private"] = Field(
        "private", description="Only callers of this service see it."
    )
    description: str | None
    github_url: None = None
    paper_url: None = None
    license_url: None = None
    cover_image_url: None = None
    default_example: None = None
    latest_version: VersionAnswer | None


class ModelPage(BaseModel):
    """All models, by name."""

    previous: None = None
    next: None = None
    results: list[ModelAnswer]


class VersionPage(BaseModel):
    previous: None = None
    next: None = None
    results: list[VersionAnswer]
