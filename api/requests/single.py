"""A submission in its three forms: JSON, a form, or the image as the body."""

from urllib.parse import unquote

import anyio.to_thread
from fastapi import Request
from starlette.exceptions import HTTPException

from api.requests.fields import joined, query_fields, read_fields, with_query
from api.requests.headers import content_type
from api.requests.items import max_text_bytes, read_image, read_image_part
from api.requests.json_body import is_json_type, read_json
from api.requests.multipart import MAX_FIELDS, parse_form, text_fields
from api.requests.receive import read_body, too_large
from api.requests.schemas import Options, PredictionRequest, Upload
from api.requests.sniff import is_image, is_json
from sluice.errors import InvalidInput
from sluice.prediction import Parameters
from sluice.settings import LimitsSettings

_ENVELOPE_BYTES = 65_536  # for all that JSON or a form adds to an image
_EVENT_LOOP_BYTES = 1_000_000  # a larger body is parsed on a thread
_MAX_PARTS = MAX_FIELDS + 100
_URL_ENCODED = "application/x-www-form-urlencoded"
_DEFAULT_OPTIONS = Options()

Fields = dict[str, list[str]]


async def read_upload(request: Request, limits: LimitsSettings) -> Upload:
    """Read the request's body in any of its three forms.

    A type that is neither JSON's nor a form's nor an image's says nothing: the first bytes tell.
    Raises InvalidInput or pydantic.ValidationError for a wrong field.
    Raises ImageTooLarge, UploadTooSlow, and HTTPException 415 for a body of another kind.
    """
    kind = content_type(request)
    query = query_fields(request)
    if kind.startswith("image/") or kind == "application/octet-stream":
        upload = _from_fields(await read_body(request, limits, limits.max_bytes), query)
    else:
        body = await read_body(request, limits, max_text_bytes(limits.max_bytes) + _ENVELOPE_BYTES)
        if is_json_type(kind):
            upload = await anyio.to_thread.run_sync(_from_json, body, query)
        elif len(body) <= _EVENT_LOOP_BYTES:
            upload = _from_other(request, body, query, limits)
        else:
            upload = await anyio.to_thread.run_sync(_from_other, request, body, query, limits)
    if isinstance(upload.image, bytes) and len(upload.image) > limits.max_bytes:
        raise too_large(limits.max_bytes)
    return upload


def _from_other(request: Request, body: bytes, query: Fields, limits: LimitsSettings) -> Upload:
    kind = content_type(request)
    if kind == "multipart/form-data":
        return _from_multipart(body, request.headers["content-type"], query, limits)
    if is_image(body):
        return _from_fields(body, query)
    if is_json(body):
        return _from_json(body, query)
    if kind == _URL_ENCODED and body:
        return _from_url_encoded(body, query)
    raise HTTPException(
        415,
        f"content type {kind or '(none)'!r}, and a body that is neither an image nor JSON:"
        " send application/json, multipart/form-data, or the image itself as image/jpeg",
    )


def _from_json(body: bytes, query: Fields) -> Upload:
    submission = read_json(PredictionRequest, body)
    given = submission.input.model_dump(exclude={"image"}, exclude_unset=True)
    options, parameters = with_query(query, submission, Parameters(**given))
    return Upload(read_image(submission.input.image), options, parameters)


def _from_multipart(body: bytes, header: str, query: Fields, limits: LimitsSettings) -> Upload:
    parts = parse_form(body, header, max_parts=_MAX_PARTS)
    images = [part for part in parts if part.name == "image" and not part.is_empty]
    others = [part for part in parts if part.name != "image"]
    if len(images) != 1:
        raise _not_one_image(len(images), [part.name for part in others if part.is_file])
    image = read_image_part(images[0], limits.max_bytes)
    return _from_fields(image, joined(query, text_fields(others), "form"))


def _from_url_encoded(body: bytes, query: Fields) -> Upload:
    """A form as `curl -d` and forms of HTML without `enctype` send it: text only."""
    fields: Fields = {}
    images: list[str] = []
    for pair in body.decode(errors="replace").split("&", _MAX_PARTS):
        name, _, value = pair.partition("=")
        if name == "image":
            # A plus stands for a space. Neither base64 nor a URL has one, so a plus was meant.
            images += filter(None, [unquote(value)])
        elif value:
            fields.setdefault(_unquoted(name), []).append(_unquoted(value))
    if len(images) != 1:
        raise _not_one_image(len(images), [])
    return _from_fields(read_image(images[0]), joined(query, fields, "form"))


def _unquoted(text: str) -> str:
    return unquote(text.replace("+", " "))


def _not_one_image(count: int, files: list[str]) -> InvalidInput:
    if count:
        return InvalidInput(
            f"the form has {count} images; send one, or all of them to POST /v1/batches"
        )
    if files:
        return InvalidInput(
            f"the form has a file in the field {files[0][:100]!r};"
            " send the image in a field named 'image'"
        )
    return InvalidInput("the form has neither a file nor a URL in a field named 'image'")


def _from_fields(image: bytes | str, fields: Fields) -> Upload:
    options, parameters = read_fields(fields) if fields else (_DEFAULT_OPTIONS, Parameters())
    return Upload(image, options, parameters)
