"""The messages between a worker and an ensemble in Triton: a request, an answer, an error.

An ensemble takes `image`, the bytes of an image's file, and `request`, JSON. The ensemble gives
`result`, JSON, and `drawing`, the bytes of the annotated image. All four are UINT8 [-1].
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sluice import errors
from sluice.errors import InvalidInput, SluiceError
from sluice.vision.heads import DecodeParameters

#: Before the JSON of an error in a message of Triton, which adds words of its own before it.
_MARK = "sluice-error:"


@dataclass(frozen=True)
class Request:
    """The parameters of one prediction. Parameters that its JSON lacks have their defaults."""

    id: str = ""
    """Begins the detections' ids."""
    confidence: float = 0.25
    iou: float = 0.45
    max_detections: int = 300
    classes: tuple[int, ...] | None = None
    """Class ids."""
    class_agnostic: bool = False
    max_pixels: int = 100_000_000
    draw: str | None = None
    """The format of the annotated image: `jpg`, `png` or `webp`. None: there is no drawing."""

    @property
    def decoding(self) -> DecodeParameters:
        """The part for a head."""
        return DecodeParameters(
            confidence=self.confidence,
            iou=self.iou,
            max_detections=self.max_detections,
            classes=self.classes,
            class_agnostic=self.class_agnostic,
        )

    def encoded(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def parse(cls, data: bytes) -> "Request":
        """Raises InvalidInput."""
        try:
            values = json.loads(data) if data else {}
            classes = values.get("classes")
            return cls(**values | {"classes": tuple(classes) if classes is not None else None})
        except (ValueError, TypeError, AttributeError) as error:
            raise InvalidInput(f"the request of the ensemble can't be read: {error}") from None


@dataclass(frozen=True)
class Answer:
    """The result of one prediction."""

    output: dict[str, Any]
    """The prediction's output, as `worker.output` has it."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """The stages' times inside Triton, by the names of `metrics`."""
    drawing: bytes = b""

    def encoded(self) -> bytes:
        """The result without the drawing."""
        values = {"output": self.output, "seconds": dict(self.seconds)}
        return json.dumps(values, ensure_ascii=False).encode()

    @classmethod
    def parse(cls, result: bytes, drawing: bytes = b"") -> "Answer":
        values = json.loads(result)
        return cls(values["output"], values["seconds"], drawing)


def message_of(error: SluiceError) -> str:
    """The text of an error that a step gives to Triton."""
    return _MARK + json.dumps({"code": error.code, "message": error.message})


def error_in(message: str) -> InvalidInput | None:
    """Return the error of a step in Triton's message, or None where Triton itself failed."""
    _, mark, text = message.partition(_MARK)
    if not mark:
        return None
    try:
        values, _ = json.JSONDecoder().raw_decode(text)
        return _BY_CODE.get(values["code"], InvalidInput)(values["message"])
    except (ValueError, KeyError, TypeError):
        return None


_BY_CODE: Mapping[str, type[InvalidInput]] = {
    kind.code: kind
    for kind in (
        errors.NotAnImage,
        errors.TruncatedImage,
        errors.ImageTooLarge,
        errors.UnsupportedModel,
        InvalidInput,
    )
}
