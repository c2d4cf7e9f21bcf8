"""The options and parameters of a submission, with the texts that OpenAPI shows for them."""

import json
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Path
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    field_validator,
)

from sluice.prediction import Parameters, Priority

_METADATA_BYTES = 4096
_NAME_CHARS = 255
_BLACK_PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAA"
    "A6fptVAAAACklEQVR42mNgAAAAAgAB5Sfe/AAAAABJRU5ErkJggg=="
)

PREDICTION_ID = "^[a-z0-9-]{1,64}$"
PredictionId = Annotated[
    str,
    Path(alias="id", pattern=PREDICTION_ID, description="The id from the submission's answer."),
]

WebhookEvent = Literal["start", "output", "logs", "completed"]

Image = Annotated[
    str,
    Field(
        description="A `data:` URI in base64, `data:image/jpeg;base64,…`,"
        " or an `http(s)` URL that a worker fetches.",
        min_length=1,
    ),
]


Stripped = Annotated[str, StringConstraints(strip_whitespace=True)]


class Input(Parameters):
    """The image and the parameters of the detection."""

    image: Image


class Options(BaseModel):
    """Options of a submission beside its input.

    With a form they are fields. With the image as the body they are in the query.
    """

    model_config = ConfigDict(extra="forbid")

    model: Stripped | None = Field(
        None,
        max_length=_NAME_CHARS,
        description="The model: `name`, `owner/name`, `name:version` or `owner/name:version`; any"
        " owner will do. Default: the service's default model.",
    )
    version: Stripped | None = Field(
        None,
        max_length=_NAME_CHARS,
        description="The same, under the name that Replicate's clients use. Beside `model`, a"
        " version of that model.",
    )
    priority: Priority = Field(
        Priority.NORMAL,
        description="Higher priorities get a larger share of the workers.",
    )
    metadata: dict[str, JsonValue] = Field(
        {},
        description="Any JSON object of yours, at most 4 kB. The prediction's answers return it.",
    )
    webhook: Stripped | None = Field(
        None,
        max_length=2048,
        description="An `http(s)` URL. The prediction's events are sent to it, signed.",
    )
    webhook_events_filter: tuple[WebhookEvent, ...] | None = Field(
        None, description="The events to send to `webhook`. Default: all."
    )
    stream: bool | None = Field(
        None,
        description="Ignored. Accepted for Replicate clients; every prediction can be streamed.",
    )

    @field_validator("metadata")
    @classmethod
    def _small(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        # NaN is refused, since JSON has no NaN and no answer could return it.
        if len(json.dumps(value, allow_nan=False)) > _METADATA_BYTES:
            raise ValueError(f"keep it under {_METADATA_BYTES:,} bytes as JSON")
        return value


class PredictionRequest(Options):
    """A submission as JSON."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "codes",
                    "input": {"image": _BLACK_PIXEL, "confidence": 0.4, "visualize": True},
                }
            ]
        },
    )

    input: Input


class BatchRequest(Options):
    """A batch as JSON."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "codes",
                    "input": {"confidence": 0.4},
                    "images": [_BLACK_PIXEL, _BLACK_PIXEL],
                }
            ]
        },
    )

    input: Parameters = Field(Parameters(), description="The parameters for every image.")
    images: list[str] = Field(
        min_length=1,
        description="The images, each a `data:` URI in base64,"
        " or an `http(s)` URL that a worker fetches.",
    )


class WebhookTestRequest(BaseModel):
    """A request for a test event."""

    model_config = ConfigDict(extra="forbid")

    url: Stripped = Field(
        min_length=1, max_length=2048, description="An `http(s)` URL, which receives the event."
    )


@dataclass(frozen=True)
class Upload:
    """The body of a request with one image."""

    image: bytes | str
    """The file's bytes, or its URL."""
    options: Options
    parameters: Parameters
