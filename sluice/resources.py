"""A prediction and a batch as clients see them, in answers and webhooks. Field names are Replicate's: its clients read them."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from sluice.batch import Batch, ItemError
from sluice.prediction import Prediction, Priority, Status, isoformat


class Urls(BaseModel):
    get: str = Field(description="This prediction.")
    cancel: str = Field(description="POST here to cancel it.")
    stream: str = Field(
        description="Its events, as server-sent events. Where keys are on, whoever has this URL needs none."
    )
    image: str | None = Field(  # left out, since clients written for Replicate take no null here
        None,
        exclude_if=lambda url: url is None,
        description="The annotated image, where `visualize` asked for one; else left out.",
    )


class QueuePosition(BaseModel):
    """How long a prediction waits, as far as is known."""

    queue_position: int | None = Field(
        None, description="While `starting`: 1 is the next; null while it waits for a retry."
    )
    estimated_wait_s: float | None = Field(
        None, description="While `starting`: seconds until its end, where anything tells."
    )


class PredictionAnswer(QueuePosition):
    """A prediction and its result."""

    id: str
    model: str
    version: str = Field(description="The same as `model`.")
    status: Status
    input: dict[str, Any] = Field(
        description="The parameters, and the image where it was given by URL."
    )
    output: dict[str, Any] | None = Field(
        description="Once `succeeded`: `image` and `predictions`, in source pixels."
    )
    error: str | None = Field(description="Once `failed` or `aborted`: why, in a sentence.")
    error_code: str | None = Field(description="Once `failed` or `aborted`: why, as a stable code.")
    logs: str = Field(
        description="A line for each attempt: its stages and their times, or why it ended."
    )
    metrics: dict[str, float] = Field(
        description="Seconds: `queue_time`, `predict_time` in all, and each stage's."
    )
    priority: Priority
    metadata: dict[str, Any] = Field(description="As it was submitted.")
    webhook: str | None
    canceled_from: Status | None = Field(
        description="Once `canceled`: the status that it had before, `starting` or `processing`."
    )
    data_removed: bool = Field(
        False,
        description="Always false: once the data is removed, the prediction is answered with 410.",
    )
    created_at: str
    started_at: str | None
    completed_at: str | None
    urls: Urls

    @classmethod
    def from_prediction(
        cls, prediction: Prediction, base_url: str, queued: QueuePosition | None = None
    ) -> "PredictionAnswer":
        """`base_url` is where the client reaches the api, with no slash at its end."""
        get = f"{base_url}/v1/predictions/{prediction.id}"
        ticket = f"&ticket={prediction.ticket}" if prediction.ticket else ""
        given = {"image": prediction.image_url} if prediction.image_url else {}
        return cls(
            id=prediction.id,
            model=prediction.model,
            version=prediction.model,
            status=prediction.status,
            input={**given, **prediction.parameters.model_dump()},
            output=prediction.output,
            error=prediction.error.message if prediction.error else None,
            error_code=prediction.error.code if prediction.error else None,
            logs=prediction.logs,
            metrics=prediction.metrics,
            priority=prediction.priority,
            metadata=prediction.metadata,
            webhook=prediction.webhook,
            canceled_from=prediction.canceled_from,
            created_at=isoformat(prediction.created_at) or "",
            started_at=isoformat(prediction.started_at),
            completed_at=isoformat(prediction.completed_at),
            urls=Urls(
                get=get,
                cancel=f"{get}/cancel",
                # Only the kinds of events that Replicate has: its clients end at any other.
                stream=f"{get}/stream?events=output,logs,error,done{ticket}",
                image=f"{get}/image" if prediction.parameters.visualize else None,
            ),
            **(queued.model_dump() if queued else {}),
        )


class BatchUrls(BaseModel):
    get: str = Field(description="This batch.")
    predictions: str = Field(description="Its predictions, in the order of the images.")
    cancel: str = Field(description="POST here to cancel what has not ended.")


class Counts(BaseModel):
    """How many predictions have which status."""

    starting: int
    processing: int
    succeeded: int
    failed: int
    canceled: int
    aborted: int


class BatchAnswer(BaseModel):
    """A batch: how many of its images are where. Its predictions' ids are `<id>-<index>`, where the first image has the index 0."""

    id: str
    status: Literal[Status.STARTING, Status.PROCESSING, Status.SUCCEEDED, Status.CANCELED] = Field(
        description="`succeeded` when all predictions have ended, failed or not; `canceled` when the rest was."
    )
    model: str
    total: int = Field(description="Images in the call.")
    counts: Counts
    missing: int = Field(
        description="Images with neither a prediction nor an error: those that the call has not come to yet, or never came to,"
        " because it broke off. The same call with the same `Idempotency-Key` brings them in while the batch has not ended."
    )
    errors: list[ItemError] = Field(description="For each image that was not accepted, why.")
    priority: Priority
    metadata: dict[str, Any] = Field(description="As it was submitted.")
    webhook: str | None
    created_at: str
    completed_at: str | None
    urls: BatchUrls

    @classmethod
    def from_batch(cls, batch: Batch, base_url: str) -> "BatchAnswer":
        """`base_url` is where the client reaches the api, with no slash at its end."""
        get = f"{base_url}/v1/batches/{batch.id}"
        return cls(
            status=batch.status,
            counts=Counts(**{status.value: count for status, count in batch.counts.items()}),
            missing=max(0, batch.total - sum(batch.counts.values()) - len(batch.errors)),
            errors=list(batch.errors),
            created_at=isoformat(batch.created_at) or "",
            completed_at=isoformat(batch.completed_at),
            urls=BatchUrls(get=get, predictions=f"{get}/predictions", cancel=f"{get}/cancel"),
            **batch.model_dump(include={"id", "model", "total", "priority", "metadata", "webhook"}),
        )
