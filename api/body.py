"""A submission in its three forms: JSON with a `data:` URI, multipart, or the image itself as the body."""

import base64
import binascii
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import anyio.to_thread
from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from sluice.errors import ImageTooLarge, InvalidInput
from sluice.prediction import Parameters

_DRAIN_S = 10.0  # how long a body that is refused is still read, so that its sender gets to read the answer
_ENVELOPE_BYTES = 65_536  # what JSON or multipart may add around an image


class Input(Parameters):
    """The image and what is asked of it."""

    image: str = Field(description="The image as a `data:` URI, base64: `data:image/jpeg;base64,…`", min_length=1)


class PredictionRequest(BaseModel):
    """A submission as JSON."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [{"model": "codes", "input": {"image": "data:image/jpeg;base64,/9j/4AAQSkZJRg…", "confidence": 0.4}}]
        },
    )

    model: str | None = Field(None, description="The model's name; the service's default where absent.")
    version: str | None = Field(None, description="The same as `model`, for clients that call it so.")
    input: Input

    @model_validator(mode="after")
    def _one_name(self) -> "PredictionRequest":
        if self.model and self.version and self.model != self.version:
            raise ValueError("give model or version, not two different ones")
        return self


@dataclass(frozen=True)
class Submission:
    """`image` is the file's bytes; `model` is None where the caller leaves it to the service."""

    image: bytes
    model: str | None
    parameters: Parameters


async def read_submission(request: Request, max_bytes: int) -> Submission:
    """Read a request's body, whichever form it has.

    Raises InvalidInput or pydantic.ValidationError for what is wrong in it, ImageTooLarge beyond `max_bytes` of image, and
    HTTPException 415 for a content type that is none of the three.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        body = await _read(request, max_bytes * 4 // 3 + _ENVELOPE_BYTES)
        submission = await anyio.to_thread.run_sync(_from_json, body)
    elif kind == "multipart/form-data":
        submission = await _from_multipart(request, await _read(request, max_bytes + _ENVELOPE_BYTES))
    elif kind.startswith("image/") or kind == "application/octet-stream":
        query = request.query_params
        fields = {name: query.getlist(name) for name in query}
        submission = _from_fields(await _read(request, max_bytes), fields)
    else:
        raise HTTPException(
            415, f"content type {kind or '(none)'!r}: send application/json, multipart/form-data, or the image itself as image/jpeg"
        )
    if len(submission.image) > max_bytes:
        raise _too_large(max_bytes)
    return submission


def _from_json(body: bytes) -> Submission:
    asked = PredictionRequest.model_validate_json(body)
    parameters = Parameters(**asked.input.model_dump(exclude={"image"}))
    return Submission(_data_uri(asked.input.image), asked.model or asked.version, parameters)


def _data_uri(text: str) -> bytes:
    """The bytes of a base64 `data:` URI (RFC 2397). Raises InvalidInput."""
    head, comma, data = text.partition(",")
    if not (head.startswith("data:") and head.endswith(";base64") and comma):
        raise InvalidInput("input.image: give a data URI, 'data:image/jpeg;base64,…'")
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise InvalidInput(f"input.image: not valid base64: {error}") from None


async def _from_multipart(request: Request, body: bytes) -> Submission:
    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await MultiPartParser(request.headers, once(), max_files=1, max_fields=100).parse()
    except (MultiPartException, KeyError) as error:
        raise InvalidInput(f"the multipart body can't be read: {getattr(error, 'message', 'it has no boundary')}") from None
    try:
        file = form.get("image")
        if not isinstance(file, UploadFile):
            raise InvalidInput("the multipart body has no file in a field named 'image'")
        fields = {name: [str(value) for value in form.getlist(name)] for name in form if name != "image"}
        return _from_fields(await file.read(), fields)
    finally:
        await form.close()


def _from_fields(image: bytes, fields: dict[str, list[str]]) -> Submission:
    """The image, with parameters that came as text: a field each, `classes` once for each class."""
    classes = fields.pop("classes", None)
    single = {name: values[-1] for name, values in fields.items()}
    model, version = single.pop("model", None), single.pop("version", None)
    parameters = Parameters.model_validate_strings(single, strict=False)
    if classes:
        chosen = tuple(int(item) if item.isdecimal() else item for item in classes)
        parameters = Parameters(**parameters.model_dump(exclude={"classes"}), classes=chosen)
    return Submission(image, model or version, parameters)


async def _read(request: Request, max_bytes: int) -> bytes:
    """The whole body. Raises ImageTooLarge beyond `max_bytes`, by its declared length where there is one."""
    declared = request.headers.get("content-length", "0")
    refused = declared.isdecimal() and int(declared) > max_bytes
    if refused and "expect" in request.headers:  # the client asks before it sends
        raise _too_large(max_bytes)
    chunks, size, until = [], 0, time.monotonic() + _DRAIN_S
    async for chunk in request.stream():
        size += len(chunk)
        refused = refused or size > max_bytes
        if not refused:
            chunks.append(chunk)
        elif time.monotonic() > until:
            break
        else:
            chunks.clear()
    if refused:
        raise _too_large(max_bytes)
    return b"".join(chunks)


def _too_large(max_bytes: int) -> ImageTooLarge:
    return ImageTooLarge(f"the image is larger than {max_bytes:,} bytes; send a smaller one")
