"""What the api answers. Field names are Replicate's, so that clients written for it read them."""

from typing import Any

from pydantic import BaseModel, Field

from sluice.prediction import Prediction, Status, isoformat


class Urls(BaseModel):
    get: str = Field(description="This prediction.")
    image: str | None = Field(None, description="The annotated image, where `visualize` asked for one.")


class PredictionAnswer(BaseModel):
    """A prediction and its result."""

    id: str
    model: str
    version: str = Field(description="The same as `model`.")
    status: Status
    input: dict[str, Any] = Field(description="The parameters; the image is not repeated.")
    output: dict[str, Any] | None = Field(description="Once `succeeded`: `image` and `predictions`, in source pixels.")
    error: str | None = Field(description="Once `failed`: why, in a sentence.")
    error_code: str | None = Field(description="Once `failed`: why, as a stable code.")
    metrics: dict[str, float] = Field(description="Seconds: `queue_time`, `predict_time` in all, and each stage's.")
    created_at: str
    started_at: str | None
    completed_at: str | None
    urls: Urls

    @classmethod
    def of(cls, prediction: Prediction, base_url: str) -> "PredictionAnswer":
        """`base_url` is where the client reached us, with no slash at its end."""
        get = f"{base_url}/v1/predictions/{prediction.id}"
        return cls(
            id=prediction.id,
            model=prediction.model,
            version=prediction.model,
            status=prediction.status,
            input=prediction.parameters.model_dump(),
            output=prediction.output,
            error=prediction.error.message if prediction.error else None,
            error_code=prediction.error.code if prediction.error else None,
            metrics=prediction.metrics,
            created_at=isoformat(prediction.created_at) or "",
            started_at=isoformat(prediction.started_at),
            completed_at=isoformat(prediction.completed_at),
            urls=Urls(get=get, image=f"{get}/image" if prediction.parameters.visualize else None),
        )


class ProblemAnswer(BaseModel):
    """An error, RFC 9457."""

    type: str
    title: str
    status: int
    detail: str = Field(description="For people: what is wrong, and what to change.")
    code: str = Field(description="For programs; stable.")
    errors: list[dict[str, str]] = Field([], description="One for each wrong field.")
