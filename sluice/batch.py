"""A batch: many images that came in one call. Pure: no store, no network."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sluice.prediction import Priority, Status


class ItemError(BaseModel):
    """The reason why an image of a batch was refused."""

    model_config = ConfigDict(frozen=True)

    index: int = Field(description="Position of the image in the batch, from 0.")
    name: str | None = Field(None, description="Name of the file, or the image's URL.")
    code: str = Field(description="The reason as a stable code, for programs.")
    detail: str = Field(description="The reason as a sentence, for people.")


class BatchSubmission(BaseModel):
    """A caller's request for one batch, without the images. Other fields are as in `Submission`."""

    model_config = ConfigDict(frozen=True)

    model: str
    total: int
    """Number of images."""
    key: str = "default"
    priority: Priority = Priority.NORMAL
    metadata: dict[str, Any] = {}
    webhook: str | None = None
    webhook_events: tuple[str, ...] = ()
    base_url: str = ""
    traceparent: str = ""
    tracestate: str = ""


class Batch(BatchSubmission):
    """The record of a batch. Times are seconds since the epoch, by Redis's clock."""

    id: str
    created_at: float
    completed_at: float | None = None
    canceled: bool = False
    counts: dict[Status, int]
    """Number of predictions in each status; every status is present."""
    errors: tuple[ItemError, ...] = ()
    """Refused images, once all images were read."""

    @property
    def status(self) -> Status:
        """`succeeded` once every prediction has ended, in any status; `canceled` after a cancel."""
        if self.completed_at is not None:
            return Status.CANCELED if self.canceled else Status.SUCCEEDED
        begun = any(count for status, count in self.counts.items() if status is not Status.STARTING)
        return Status.PROCESSING if begun else Status.STARTING

    def item(self, index: int) -> str:
        """The id of the prediction for the image at `index`."""
        return f"{self.id}-{index}"
