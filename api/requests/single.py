"""A submission in its three forms: JSON with a `data:` URI or a URL, multipart, or the image itself as the body."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import anyio.to_thread
from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator
from pydantic_core import from_json
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from sluice.errors import ImageTooLarge, InvalidInput, UploadTooSlow
from sluice.prediction import Parameters, Priority
from sluice.settings import LimitsSettings

_DRAIN_S = 10.0  # how long a body that is refused is still read, so that its sender gets to read the answer
_ENVELOPE_BYTES = 65_536  # what JSON or multipart may add around an image
_METADATA_BYTES = 4096
_NAME_CHARS = 255
_URL_CHARS = 8192
_LONGEST_NUMBER = 20  # in digits; Python reads no more than some thousands
EXAMPLE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAA"
    "A6fptVAAAACklEQVR42mNgAAAAAgAB5Sfe/AAAAABJRU5ErkJggg=="
)  # a black pixel
WebhookEvent = Literal["start", "output", "logs", "completed"]


Image = Annotated[
    str,
    Field(
        description="A `data:` URI in base64, `data:image/jpeg;base64,…`, or an `http(s)` URL that a worker fetches.",
        min_length=1,
    ),
]


class Input(Parameters):
    """The image and what is asked of it."""

    image: Image


class Options(BaseModel):
    """What a submission may say beside its input. With a form they are fields, with the image as the body they are in the query."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(
        None,
        max_length=_NAME_CHARS,
        description="The model's name; the service's default where absent.",
    )
    version: str | None = Field(
        None,
        max_length=_NAME_CHARS,
        description="The same as `model`, for clients that call it so.",
    )
    priority: Priority = Field(
        Priority.NORMAL, description="Which of this service's predictions go first."
    )
    metadata: dict[str, JsonValue] = Field(
        {},
        description="Anything of yours, 4 kB as JSON at most; it comes back with the prediction.",
    )
    webhook: str | None = Field(
        None,
        max_length=2048,
        description="An `http(s)` URL that is told of the prediction's events, signed.",
    )
    webhook_events_filter: tuple[WebhookEvent, ...] | None = Field(
        None, description="Which events; all where absent."
    )
    stream: bool | None = Field(
        None, description="Heeded by nothing: every prediction can be streamed."
    )

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if self.model and self.version and self.model != self.version:
            raise ValueError("give model or version, not two different ones")
        return self

    @field_validator("metadata")
    @classmethod
    def _small(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if (
            len(json.dumps(value, allow_nan=False)) > _METADATA_BYTES
        ):  # no NaN: the answer could not say it
            raise ValueError(f"keep it under {_METADATA_BYTES:,} bytes as JSON")
        return value


class PredictionRequest(Options):
    """A submission as JSON."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "codes",
                    "input": {"image": EXAMPLE, "confidence": 0.4, "visualize": True},
                }
            ]
        },
    )

    input: Input


_PLAIN = Options()


@dataclass(frozen=True)
class Upload:
    """A request's body. `image` is the file's bytes, or its URL."""

    image: bytes | str
    options: Options
    parameters: Parameters


async def read_upload(request: Request, limits: LimitsSettings) -> Upload:
    """Read a request's body, whichever form it has.

    Raises InvalidInput or pydantic.ValidationError for what is wrong in it, ImageTooLarge, UploadTooSlow, and HTTPException 415 for
    a content type that is none of the three.
    """
    kind = content_type(request)
    if kind == "application/json":
        body = await read_body(request, limits, limits.max_bytes * 4 // 3 + _ENVELOPE_BYTES)
        upload = await anyio.to_thread.run_sync(_from_json, body)
    elif kind == "multipart/form-data":
        upload = await _from_multipart(
            request, await read_body(request, limits, limits.max_bytes + _ENVELOPE_BYTES)
        )
    elif kind.startswith("image/") or kind == "application/octet-stream":
        query = request.query_params
        fields = {name: query.getlist(name) for name in query}
        upload = _from_fields(await read_body(request, limits, limits.max_bytes), fields)
    else:
        raise HTTPException(
            415,
            f"content type {kind or '(none)'!r}: send application/json, multipart/form-data, or the image itself as image/jpeg",
        )
    if isinstance(upload.image, bytes) and len(upload.image) > limits.max_bytes:
        raise too_large(limits.max_bytes)
    return upload


def content_type(request: Request) -> str:
    """The media type of the body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _from_json(body: bytes) -> Upload:
    asked = PredictionRequest.model_validate_json(body, strict=True)
    parameters = Parameters(**asked.input.model_dump(exclude={"image"}))
    return Upload(read_image(asked.input.image), asked, parameters)


def read_image(text: str) -> bytes | str:
    """The bytes of a `data:` URI, or the URL itself. Raises InvalidInput."""
    scheme = text[:8].lower()  # RFC 3986: in letters of either case
    if scheme.startswith("data:"):
        return _data_uri(text)
    if scheme.startswith(("http://", "https://")):
        if (
            len(text) > _URL_CHARS
        ):  # it is kept in the record, which no bound on images' bytes counts
            raise InvalidInput(
                f"input.image: the URL is longer than {_URL_CHARS:,} characters; send the image itself"
            )
        return text
    raise InvalidInput(
        "input.image: give a data URI in base64, 'data:image/jpeg;base64,…', or an http(s) URL"
    )


def _data_uri(text: str) -> bytes:
    """The bytes of a base64 `data:` URI (RFC 2397). Raises InvalidInput."""
    head, comma, data = text.partition(",")
    if not (head.lower().endswith(";base64") and comma):
        raise InvalidInput("input.image: give a data URI in base64, 'data:image/jpeg;base64,…'")
    try:
        return base64.b64decode(data, validate=True)
    except ValueError as error:
        raise InvalidInput(f"input.image: not valid base64: {error}") from None


async def _from_multipart(request: Request, body: bytes) -> Upload:
    form = await read_form(request, body, max_files=1)
    try:
        file = form.get("image")
        if isinstance(file, UploadFile):
            image: bytes | str = await file.read()
        elif file:
            image = read_image(file)
        else:
            raise InvalidInput(
                "the multipart body has neither a file nor a URL in a field named 'image'"
            )
        fields = {
            name: [str(value) for value in form.getlist(name)] for name in form if name != "image"
        }
        return _from_fields(image, fields)
    finally:
        await form.close()


async def read_form(request: Request, body: bytes, *, max_files: int) -> FormData:
    """A multipart body's fields; close it after use. Raises InvalidInput."""

    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    boundary = parse_options_header(request.headers["content-type"])[1].get(b"boundary")
    if not boundary:
        raise InvalidInput("the multipart body can't be read: it has no boundary")
    # Without a charset, which RFC 7578 does not know: whoever names it would choose which of Python's codecs reads the fields.
    headers = Headers(raw=[(b"content-type", b'multipart/form-data; boundary="%s"' % boundary)])
    try:
        return await MultiPartParser(headers, once(), max_files=max_files, max_fields=100).parse()
    except MultiPartException as error:
        raise InvalidInput(f"the multipart body can't be read: {error.message}") from None


def _from_fields(image: bytes | str, fields: dict[str, list[str]]) -> Upload:
    """The image, with options and parameters that came as text: a field each, or one for each of several values."""
    options, parameters = read_fields(fields) if fields else (_PLAIN, Parameters())
    return Upload(image, options, parameters)


def read_fields(fields: dict[str, list[str]]) -> tuple[Options, Parameters]:
    """Options and parameters that came as text. Raises pydantic.ValidationError, InvalidInput."""
    several = {
        name: fields.pop(name) for name in ("classes", "webhook_events_filter") if name in fields
    }
    single = {name: values[-1] for name, values in fields.items()}
    beside: dict[str, Any] = {
        name: single.pop(name) for name in Options.model_fields if name in single
    }
    if "metadata" in beside:
        try:
            beside["metadata"] = from_json(
                beside["metadata"]
            )  # json.loads takes half a character, and nests until it falls
        except ValueError:
            raise InvalidInput("metadata: give a JSON object") from None
    if "webhook_events_filter" in several:
        beside["webhook_events_filter"] = several["webhook_events_filter"]
    parameters = Parameters.model_validate_strings(single, strict=False)
    if "classes" in several:
        chosen = tuple(
            int(item) if item.isdecimal() and len(item) < _LONGEST_NUMBER else item
            for item in several["classes"]
        )
        parameters = Parameters(**parameters.model_dump(exclude={"classes"}), classes=chosen)
    return Options.model_validate(beside), parameters


async def read_body(
    request: Request, limits: LimitsSettings, max_bytes: int, what: str = "image"
) -> bytes:
    """The whole body. Raises what `receive` raises."""
    return b"".join([chunk async for chunk in receive(request, limits, max_bytes, what)])


async def receive(
    request: Request, limits: LimitsSettings, max_bytes: int, what: str, *, awaits: bool = False
) -> AsyncGenerator[bytes, None]:
    """The body as it comes. Raises ImageTooLarge beyond `max_bytes`, by its declared length where there is one; UploadTooSlow.
    `what` is what the body is called to its sender; `awaits`, whether whoever takes the chunks awaits something between them.
    """
    declared = request.headers.get("content-length", "0")
    refused = declared.isdecimal() and int(declared) > max_bytes
    if refused and "expect" in request.headers:  # the client asks before it sends
        raise too_large(max_bytes, what)
    size, loop = 0, asyncio.get_running_loop()
    looked_at = loop.time()
    until = looked_at + (_DRAIN_S if refused else limits.upload_s)
    try:
        async with asyncio.timeout_at(min(until, looked_at + limits.upload_idle_s)) as patience:
            async for chunk in request.stream():
                size += len(chunk)
                now = loop.time()
                if not refused and size > max_bytes:
                    refused, until, looked_at = True, now + _DRAIN_S, 0.0
                if (
                    now - looked_at > limits.upload_idle_s / 10
                ):  # each time costs as much as a small chunk
                    looked_at = now
                    patience.reschedule(min(until, now + limits.upload_idle_s))
                if awaits:
                    patience.reschedule(None)  # or it would cut off what is done with the chunk
                if not refused and chunk:
                    yield chunk
                if awaits:
                    if (
                        loop.time() > until
                    ):  # where the next chunk is there already, nothing else would notice
                        raise TimeoutError
                    patience.reschedule(min(until, loop.time() + limits.upload_idle_s))
    except TimeoutError:
        if not refused:
            raise UploadTooSlow(
                f"the body did not arrive: nothing came for {limits.upload_idle_s:g} s, or it took more than {limits.upload_s:g} s"
            ) from None
    if refused:
        raise too_large(max_bytes, what)


def too_large(max_bytes: int, what: str = "image") -> ImageTooLarge:
    return ImageTooLarge(f"the {what} is larger than {max_bytes:,} bytes; send a smaller one")
