"""A file in a multipart form, as `POST /v1/files` takes it."""

import json
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, Json, JsonValue, field_validator
from starlette.exceptions import HTTPException

from api.requests.fields import joined, query_fields
from api.requests.headers import content_type, declared_bytes
from api.requests.multipart import parse_form, text_fields
from api.requests.receive import read_body, too_large
from api.requests.sniff import is_image
from sluice.errors import InvalidInput
from sluice.settings import LimitsSettings

_FORM_BYTES = 65_536  # for all that a form adds to a file
_METADATA_BYTES = 4096
_MAX_PARTS = 100


@dataclass(frozen=True)
class FileUpload:
    """A file and what its sender says about it."""

    data: bytes
    name: str
    content_type: str
    metadata: dict[str, Any]


class _Fields(BaseModel):
    """The fields of a form beside the file."""

    model_config = ConfigDict(extra="forbid")

    filename: str | None = Field(None, max_length=255)
    type: str | None = Field(None, max_length=255)
    metadata: Json[dict[str, JsonValue]] = Field("{}", validate_default=True)

    @field_validator("metadata")
    @classmethod
    def _without_nan(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        json.dumps(value, allow_nan=False)  # JSON has no NaN, so no answer could return it
        return value


def check_content_type(request: Request) -> None:
    """Raises HTTPException 415 for a body that is no form."""
    if content_type(request) != "multipart/form-data":
        raise HTTPException(
            415, "send multipart/form-data with the file in a field named 'content'"
        )


def declared_file_bytes(request: Request) -> int:
    """The least size of the file by the declared length of the body; 0 where none is declared."""
    return max(0, (declared_bytes(request) or 0) - _FORM_BYTES)


async def read_file(request: Request, limits: LimitsSettings, max_bytes: int) -> FileUpload:
    """Read a form with a file in the field `content`.

    Raises InvalidInput, pydantic.ValidationError, ImageTooLarge, UploadTooSlow.
    """
    body = await read_body(request, limits, max_bytes + _FORM_BYTES, "file")
    return _from_form(body, request, max_bytes)


def _from_form(body: bytes, request: Request, max_bytes: int) -> FileUpload:
    parts = parse_form(body, request.headers["content-type"], max_parts=_MAX_PARTS)
    contents = [part for part in parts if part.name == "content"]
    if len(contents) != 1:
        raise InvalidInput(
            f"the form has {len(contents) or 'no'} files in the field 'content'; send one"
        )
    (content,) = contents
    data = content.read()
    if not (content.is_file or is_image(data)):
        raise InvalidInput("the field 'content' holds text; send the file's bytes in it")
    others = text_fields(part for part in parts if part.name != "content")
    texts = {
        name: values[-1] for name, values in joined(query_fields(request), others, "form").items()
    }
    if len(texts.get("metadata", "")) > _METADATA_BYTES:
        raise InvalidInput(f"metadata: keep it under {_METADATA_BYTES:,} bytes")
    fields = _Fields.model_validate(texts)
    if len(data) > max_bytes:
        raise too_large(max_bytes, "file")
    named = _Fields(
        filename=fields.filename or content.filename, type=fields.type or content.content_type
    )
    return FileUpload(
        data,
        name=named.filename or "file",
        content_type=named.type or "application/octet-stream",
        metadata=fields.metadata,
    )
