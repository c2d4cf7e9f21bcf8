"""A submission in its three forms: JSON, multipart, or the image as the body."""

import anyio.to_thread
from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from api.requests.fields import query_fields, read_fields
from api.requests.headers import content_type
from api.requests.items import read_image
from api.requests.multipart import read_form
from api.requests.receive import read_body, too_large
from api.requests.schemas import Options, PredictionRequest, Upload
from sluice.errors import InvalidInput
from sluice.prediction import Parameters
from sluice.settings import LimitsSettings

_ENVELOPE_BYTES = 65_536  # for all that JSON or multipart adds to an image
_DEFAULT_OPTIONS = Options()


async def read_upload(request: Request, limits: LimitsSettings) -> Upload:
    """Read the request's body in any of its three forms.

    Raises InvalidInput or pydantic.ValidationError for a wrong field.
    Raises ImageTooLarge, UploadTooSlow, and HTTPException 415 for any other content type.
    """
    kind = content_type(request)
    if kind == "application/json":
        body = await read_body(request, limits, limits.max_bytes * 4 // 3 + _ENVELOPE_BYTES)
        upload = await anyio.to_thread.run_sync(_from_json, body)
    elif kind == "multipart/form-data":
        body = await read_body(request, limits, limits.max_bytes + _ENVELOPE_BYTES)
        upload = await _from_multipart(request, body)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        fields = query_fields(request)
        upload = _from_fields(await read_body(request, limits, limits.max_bytes), fields)
    else:
        raise HTTPException(
            415,
            f"content type {kind or '(none)'!r}: send application/json, multipart/form-data,"
            " or the image itself as image/jpeg",
        )
    if isinstance(upload.image, bytes) and len(upload.image) > limits.max_bytes:
        raise too_large(limits.max_bytes)
    return upload


def _from_json(body: bytes) -> Upload:
    submission = PredictionRequest.model_validate_json(body, strict=True)
    parameters = Parameters(**submission.input.model_dump(exclude={"image"}))
    return Upload(read_image(submission.input.image), submission, parameters)


async def _from_multipart(request: Request, body: bytes) -> Upload:
    form = await read_form(request, body, max_files=1)
    try:
        field = form.get("image")
        if isinstance(field, UploadFile):
            image: bytes | str = await field.read()
        elif field:
            image = read_image(field)
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


def _from_fields(image: bytes | str, fields: dict[str, list[str]]) -> Upload:
    options, parameters = read_fields(fields) if fields else (_DEFAULT_OPTIONS, Parameters())
    return Upload(image, options, parameters)
