"""JSON bodies, checked strictly against a model."""

from typing import TypeVar

from pydantic import BaseModel

from api.requests.sniff import utf_8

Model = TypeVar("Model", bound=BaseModel)


def is_json_type(kind: str) -> bool:
    """True for a media type of JSON, such as application/vnd.api+json."""
    return kind in ("application/json", "text/json") or kind.endswith("+json")


def read_json(model: type[Model], body: bytes) -> Model:
    """The value of `model` in `body`. A byte order mark of UTF-8 is left out.

    Raises pydantic.ValidationError, InvalidInput.
    """
    return model.model_validate_json(utf_8(body), strict=True)
