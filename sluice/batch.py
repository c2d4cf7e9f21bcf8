"""A batch: many images that came in one call. Pure: no store, no network."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from sluice.prediction import Priority, Status


class ItemError(BaseModel):
    """Why an image of a batch was not accepted. `name` is the file's, or its URL."""

    model_config = ConfigDict(frozen=True)

    index: int
    name: str | None = None
    code: str
    detail: str


class BatchSubmission(BaseModel):
    """What a caller submits, but for the images, of which there are `total`. The rest is as in `Submission`."""

    model_config = ConfigDict(frozen=True)

    model: str
    total: int
    key: str = "default"
    priority: Priority = Priority.NORMAL
    metadata: dict[str, Any] = {}
    webhook: str | None = None
    webhook_events: tuple[str, ...] = ()
    base_url: str = ""


class Batch(BatchSubmission):
    """The record. `counts` has every status; `errors` are known once all images were looked at."""

    id: str
    created_at: float
    completed_at: float | None = None
    canceled: bool = False
    counts: dict[Status, int]
    errors: tuple[ItemError, ...] = ()

    @property
    def status(self) -> Status:
        """`succeeded` when all have ended, however; `canceled` when the rest was."""
        if self.completed_at is not None:
            return Status.CANCELED if self.canceled else Status.SUCCEEDED
        begun = any(count for status, count in self.counts.items() if status is not Status.STARTING)
        return Status.PROCESSING if begun else Status.STARTING

    def item(self, index: int) -> str:
        """The id of the prediction for the image at `index`."""
        return f"{self.id}-{index}"
