"""The api's answers, except predictions and batches, which are in `sluice/resources.py`."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from sluice.delivery import Delivery, DeliveryAttempt, DeliveryStatus
from sluice.file import File
from sluice.ledger.timeline import Minute
from sluice.models import Layout, Recipe, Task
from sluice.prediction import isoformat
from sluice.resources import BatchAnswer, PredictionAnswer


class ProblemAnswer(BaseModel):
    """An error, RFC 9457."""

    type: str
    title: str
    status: int
    detail: str = Field(description="For people: the error, and what to change.")
    code: str = Field(description="For programs: a stable code.")
    errors: list[dict[str, str]] = Field([], description="One entry for each wrong field.")


class PredictionPage(BaseModel):
    """Predictions, the newest first."""

    previous: str | None = Field(description="The URL of the page with newer predictions, or null.")
    next: str | None = Field(
        description="The URL of the page with older predictions, or null."
        " A page may be shorter than the limit and still have a next one."
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
    """The load of the service."""

    backlog: int = Field(description="Predictions that are queued or running.")
    processing: int = Field(description="Predictions that are running.")
    oldest_s: float = Field(
        description="Seconds since the oldest of the backlog was submitted."
        " 0 while the backlog is empty."
    )
    workers: int = Field(description="Worker processes with a recent heartbeat.")
    per_s: float = Field(
        description="Predictions that ended per second while others waited,"
        " in the best ten seconds of the last minute."
    )
    estimated_wait_s: float | None = Field(
        description="Seconds until a prediction submitted now would end; null where unknown."
    )


class MinuteAnswer(BaseModel):
    """The load in one minute."""

    at: str = Field(description="The start of the minute.")
    backlog: int | None = Field(
        description="The largest sample of queued and running predictions; null without a sample."
    )
    processing: int | None = Field(description="The largest sample of running predictions.")
    workers: int | None = Field(description="Worker processes with a recent heartbeat.")
    succeeded: int = Field(description="Predictions that succeeded in this minute.")
    failed: int = Field(description="Predictions that failed, dead letters among them.")
    aborted: int = Field(description="Predictions whose deadline passed before they started.")
    latency_p50_s: float | None = Field(
        description="Seconds from submission to success that half of the predictions kept, as"
        " estimated from counts; null without a success."
    )
    latency_p95_s: float | None = Field(description="The same for 95 in 100 predictions.")

    @classmethod
    def from_minute(cls, minute: Minute) -> "MinuteAnswer":
        return cls(
            at=isoformat(minute.at) or "",
            backlog=minute.backlog,
            processing=minute.processing,
            workers=minute.workers,
            succeeded=minute.succeeded,
            failed=minute.failed,
            aborted=minute.aborted,
            latency_p50_s=_rounded(minute.latency_s(0.5)),
            latency_p95_s=_rounded(minute.latency_s(0.95)),
        )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


class TimelineAnswer(BaseModel):
    """The last minutes, the oldest first. The last one is the current minute."""

    results: list[MinuteAnswer]


class AttemptAnswer(BaseModel):
    """One attempt at a delivery."""

    at: str
    duration_s: float
    status: int | None = Field(
        description="The HTTP status of the receiver's answer, or null without one."
    )
    error: str | None = Field(
        description="The error, such as `timeout`; null where the answer was complete."
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
        description="`held`: waits for the delivery of the `start` event."
        " `superseded`: the prediction ended before this `start` event was delivered."
        " `stopped`: the URL has answered 410. `dead`: all attempts have failed."
    )
    reason: str | None = Field(description="The reason for `dead` or `stopped`.")
    created_at: str
    next_attempt_at: str | None
    attempts: int = Field(description="The number of attempts; `log` has the last ones.")
    log: list[AttemptAnswer]
    key_name: str | None = Field(
        None,
        exclude_if=lambda name: name is None,
        description="The name of the API key whose event it is. Only for an operator's key.",
    )

    @classmethod
    def from_delivery(cls, delivery: Delivery, *, names_key: bool = False) -> "DeliveryAnswer":
        """With `names_key`, the answer has the name of the delivery's API key."""
        return cls(
            key_name=delivery.key if names_key else None,
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


class DeliveryPage(BaseModel):
    """Deliveries that were given up or stopped, the last to end first."""

    previous: str | None = Field(description="The URL of the page before, or null.")
    next: str | None = Field(description="The URL of the page after, or null.")
    results: list[DeliveryAnswer]


class ToldPrediction(PredictionAnswer):
    output_url: str | None = Field(
        None, description="Only where `output` is too long for an event: GET the output here."
    )


class PredictionEvent(BaseModel):
    """The event that a prediction's webhook gets, in the form of Standard Webhooks."""

    type: Literal["prediction.start", "prediction.completed"]
    timestamp: str = Field(description="The time of the event.")
    data: ToldPrediction


class BatchEvent(BaseModel):
    """The event that a batch's webhook gets."""

    type: Literal["batch.completed"]
    timestamp: str = Field(description="The time of the event.")
    data: BatchAnswer


class WebhookTestData(BaseModel):
    message: str = Field(description="A sentence for people.")


class WebhookTestEvent(BaseModel):
    """The event that `POST /v1/webhooks/test` sends."""

    type: Literal["webhook.test"]
    timestamp: str = Field(description="The time of the event.")
    data: WebhookTestData


class SecretAnswer(BaseModel):
    """The secret that signs your webhooks."""

    key: str = Field(description="The newest secret, `whsec_…`. Keep it secret.")


class FileUrls(BaseModel):
    get: str = Field(description="The file's URL. Give it as `input.image` to submit the file.")


class FileAnswer(BaseModel):
    """An uploaded file."""

    id: str
    name: str
    content_type: str
    size: int = Field(description="In bytes.")
    etag: str = Field(description="The SHA-256 of the file, in hex.")
    checksums: dict[str, str] = Field(description="`sha256`, in hex.")
    metadata: dict[str, Any] = Field(description="The metadata of the upload.")
    created_at: str
    expires_at: str
    urls: FileUrls

    @classmethod
    def from_file(cls, file: File, base_url: str) -> "FileAnswer":
        """`base_url` is where the client reaches the api, without a slash at its end."""
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
    """A version of a model. Each loaded model has exactly one here."""

    id: str = Field(description="The model's name; give it as `version` to submit to this model.")
    created_at: str = Field(
        description="The time at which this process of the service first saw the model."
    )
    cog_version: str = Field("", description="Always empty.")
    openapi_schema: dict[str, Any] = Field(
        description="`components.schemas` has `Input` and `Output`."
    )


class ModelAnswer(BaseModel):
    """A model in Triton's repository.

    A model that is not loaded has no task, layout, classes, input or version.
    """

    name: str
    default: bool = Field(description="True for the model of submissions that name no model.")
    ready: bool
    reason: str | None = Field(description="The reason for not being ready.")
    version: str | None = Field(description="The loaded version, by Triton's number.")
    task: Task | None
    layout: Layout | None = Field(description="The layout of the model's outputs.")
    recipe: Recipe | None = Field(
        description="The place where images are prepared: the `worker`, or an `ensemble` in Triton."
    )
    classes: list[str] | None = Field(
        description="The names of the classes. A class's id is its index, from 0."
    )
    input: InputSize | None = Field(description="The size to which images are scaled, in pixels.")
    run_count: int = Field(
        description="Images that one Triton server has run through the model since loading it."
    )
    owner: Literal["sluice"] = "sluice"
    url: str = Field(description="The model's URL.")
    visibility: Literal["private"] = Field(
        "private", description="Only callers of this service see the model."
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
