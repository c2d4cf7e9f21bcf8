"""A prediction and a batch as clients see them, in answers and webhooks.

Field names are Replicate's, so that Replicate's clients can read them.
"""

from typing import Any, Literal

from pydantic import BaseModel, Field

from sluice.batch import Batch, ItemError
from sluice.prediction import Prediction, Priority, Status, isoformat


class Urls(BaseModel):
    get: str = Field(description="The prediction's URL.")
    cancel: str = Field(description="POST here to cancel it.")
    stream: str = Field(
        description="The prediction's events, as server-sent events. The URL needs no key."
    )
    # Left out where there is none, since Replicate's clients accept no null here.
    image: str | None = Field(
        None,
        exclude_if=lambda url: url is None,
        description="The annotated image. Left out unless `visualize` was set.",
    )


class QueuePosition(BaseModel):
    """The place of a prediction in the queue."""

    queue_position: int | None = Field(
        None,
        description="While `starting`: 1 is the next to run. Null while the prediction waits for a"
        " retry.",
    )
    estimated_wait_s: float | None = Field(
        None, description="While `starting`: seconds until the end; null where unknown."
    )


class PredictionAnswer(QueuePosition):
    """A prediction and its result."""

    id: str
    model: str
    version: str = Field(description="The same as `model`.")
    status: Status
    input: dict[str, Any] = Field(
        description="The parameters, and the image's URL where the image was given by URL."
    )
    output: dict[str, Any] | None = Field(
        description="Once `succeeded`: `image` and `predictions`, in source pixels."
    )
    error: str | None = Field(description="Once `failed` or `aborted`: the reason, for people.")
    error_code: str | None = Field(
        description="Once `failed` or `aborted`: the reason, as a stable code."
    )
    logs: str = Field(description="A line for each attempt: the times of its stages, or its error.")
    metrics: dict[str, float] = Field(
        description="Seconds: `queue_time`, `predict_time` in total, and the time of each stage. Of"
        " a sliced image, `tiles` is the number of runs, and stages are sums over them."
    )
    priority: Priority
    metadata: dict[str, Any] = Field(description="The metadata of the submission.")
    webhook: str | None
    canceled_from: Status | None = Field(
        description="Once `canceled`: the status before, `starting` or `processing`."
    )
    data_removed: bool = Field(
        False,
        description="Always false: a prediction whose data was removed is answered with 410.",
    )
    created_at: str
    started_at: str | None
    completed_at: str | None
    urls: Urls
    key_name: str | None = Field(
        None,
        exclude_if=lambda name: name is None,
        description="The name of the API key that submitted it. Only for an operator's key.",
    )

    @classmethod
    def from_prediction(
        cls,
        prediction: Prediction,
        base_url: str,
        queued: QueuePosition | None = None,
        *,
        names_key: bool = False,
    ) -> "PredictionAnswer":
        """`base_url` is the URL at which the client reaches the api, without a slash at its end.

        With `names_key`, the answer has the name of the prediction's API key.
        """
        get = f"{base_url}/v1/predictions/{prediction.id}"
        ticket = f"&ticket={prediction.ticket}" if prediction.ticket else ""
        image = {"image": prediction.image_url} if prediction.image_url else {}
        return cls(
            id=prediction.id,
            model=prediction.model,
            version=prediction.model,
            status=prediction.status,
            input={**image, **prediction.parameters.model_dump()},
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
                # Only the kinds of events that Replicate has, since its clients fail at any other.
                stream=f"{get}/stream?events=output,logs,error,done{ticket}",
                image=f"{get}/image" if prediction.parameters.visualize else None,
            ),
            key_name=prediction.key if names_key else None,
            **(queued.model_dump() if queued else {}),
        )


class BatchUrls(BaseModel):
    get: str = Field(description="The batch's URL.")
    predictions: str = Field(description="The batch's predictions, in the order of the images.")
    cancel: str = Field(description="POST here to cancel the predictions that have not ended.")


class Counts(BaseModel):
    """The number of predictions in each status."""

    starting: int
    processing: int
    succeeded: int
    failed: int
    canceled: int
    aborted: int


class BatchAnswer(BaseModel):
    """A batch, with the number of its predictions in each status.

    The ids of its predictions are `<id>-<index>`; the first image has the index 0.
    """

    id: str
    status: Literal[Status.STARTING, Status.PROCESSING, Status.SUCCEEDED, Status.CANCELED] = Field(
        description="`succeeded`: all predictions have ended, successfully or not."
        " `canceled`: the batch was canceled before all had ended."
    )
    model: str
    total: int = Field(description="Images in the call.")
    counts: Counts
    missing: int = Field(
        description="Images with neither a prediction nor an error: the call has not reached them"
        " yet, or was cut off. While the batch has not ended, the same call with the same"
        " `Idempotency-Key` submits them."
    )
    errors: list[ItemError] = Field(description="The error of each image that was refused.")
    priority: Priority
    metadata: dict[str, Any] = Field(description="The metadata of the submission.")
    webhook: str | None
    created_at: str
    completed_at: str | None
    urls: BatchUrls

    @classmethod
    def from_batch(cls, batch: Batch, base_url: str) -> "BatchAnswer":
        """`base_url` is the URL at which the client reaches the api, without a slash at its end."""
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
