"""What the api answers beside predictions, which are in `sluice/answers.py`."""

from pydantic import BaseModel, Field

from sluice.answers import PredictionAnswer
from sluice.deliveries import Attempt, Delivery, State
from sluice.prediction import isoformat


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
    next: str | None = Field(description="The URL of the page with older ones, or null. A page may be short and have a next one.")
    results: list[PredictionAnswer]


class QueueAnswer(BaseModel):
    """How busy the service is."""

    backlog: int = Field(description="Predictions that are queued or running.")
    processing: int = Field(description="Of these, those that run.")
    oldest_s: float = Field(description="Seconds since the oldest of them was submitted; 0 when there is none.")
    workers: int = Field(description="Worker processes that were heard of lately.")
    per_s: float = Field(description="How many ended in a second, in the best ten seconds of the last minute.")
    estimated_wait_s: float | None = Field(description="Until a prediction submitted now would end; null where nothing tells.")


class AttemptAnswer(BaseModel):
    """One attempt at a delivery."""

    at: str
    duration_s: float
    status: int | None = Field(description="Of the receiver's answer, or null where there was none.")
    error: str | None = Field(description="What went wrong, such as `timeout`; null where the answer came whole.")
    answer: str = Field(description="The answer's first kilobyte.")

    @classmethod
    def of(cls, attempt: Attempt) -> "AttemptAnswer":
        return cls(at=isoformat(attempt.at) or "", **attempt.model_dump(exclude={"at"}))


class DeliveryAnswer(BaseModel):
    """One event on its way to a webhook."""

    id: str = Field(description="Also the header `webhook-id`.")
    type: str = Field(examples=["prediction.completed"])
    url: str
    status: State = Field(
        description="`held`: the `start` before it is on its way. `superseded`: the prediction ended before this start arrived."
        " `stopped`: its URL has answered 410. `dead`: given up."
    )
    reason: str | None = Field(description="Why it is `dead` or `stopped`.")
    created_at: str
    next_attempt_at: str | None
    attempts: int = Field(description="How many there were; `log` has the last ones.")
    log: list[AttemptAnswer]

    @classmethod
    def of(cls, delivery: Delivery) -> "DeliveryAnswer":
        return cls(
            id=delivery.id,
            type=f"{delivery.kind}.{delivery.event}",
            url=delivery.url,
            status=delivery.status,
            reason=delivery.reason,
            created_at=isoformat(delivery.created_at) or "",
            next_attempt_at=isoformat(delivery.due),
            attempts=delivery.attempts,
            log=[AttemptAnswer.of(attempt) for attempt in delivery.log],
        )


class DeliveryList(BaseModel):
    """A prediction's webhook events, the oldest first."""

    results: list[DeliveryAnswer]


class SecretAnswer(BaseModel):
    """What your webhooks are signed with."""

    key: str = Field(description="`whsec_…`, the newest one; keep it secret.")
