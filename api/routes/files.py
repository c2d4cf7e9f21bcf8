"""Files that are uploaded before they are submitted, as Replicate's clients do."""

import json
from http import HTTPStatus
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, Json, JsonValue, field_validator
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from api.auth import CallerDep
from api.deps import ServicesDep, base_url
from api.openapi import link, problems
from api.requests.single import content_type, read_body, read_form, too_large
from api.schemas import FileAnswer, FilePage
from sluice.errors import InvalidInput, QueueFull

router = APIRouter(prefix="/v1/files", tags=["files"])

Id = Annotated[
    str, Path(alias="id", pattern="^[a-z2-7]{26}$", description="As the upload's answer gave it.")
]
_FORM_BYTES = 65_536  # what a form may add around a file
_METADATA_BYTES = 4096


class _Fields(BaseModel):
    """What a form may say beside the file."""

    model_config = ConfigDict(extra="forbid")

    filename: str | None = Field(None, max_length=255)
    type: str | None = Field(None, max_length=255)
    metadata: Json[dict[str, JsonValue]] = Field("{}", validate_default=True)

    @field_validator("metadata")
    @classmethod
    def _sayable(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        json.dumps(value, allow_nan=False)  # an answer could not say NaN
        return value


_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["content"],
                    "additionalProperties": False,
                    "properties": {
                        "content": {
                            "type": "string",
                            "format": "binary",
                            "description": "The file.",
                        },
                        "filename": {
                            "type": "string",
                            "maxLength": 255,
                            "description": "Instead of the name in the form.",
                        },
                        "type": {
                            "type": "string",
                            "maxLength": 255,
                            "description": "Instead of the content type in the form.",
                        },
                        "metadata": {
                            "type": "object",
                            "description": "Anything of yours, 4 kB as JSON at most; it comes back.",
                        },
                    },
                }
            }
        },
    }
}


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    openapi_extra=_BODY,
    responses={
        201: {
            "headers": {"Location": {"schema": {"type": "string"}, "description": "The file."}},
            "links": {"get": link("files_get", id="/id"), "delete": link("files_delete", id="/id")},
        },
        **problems(
            HTTPStatus.REQUEST_TIMEOUT,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            HTTPStatus.TOO_MANY_REQUESTS,
        ),
    },
)
async def create(
    request: Request, response: Response, services: ServicesDep, caller: CallerDep
) -> FileAnswer:
    """Upload a file, to submit it by its URL: the answer's `urls.get` as `input.image`.

    It is kept until `expires_at`. Where a key's files would take more room than they may, those that were submitted go first, the
    longest unused before the others.
    """
    if content_type(request) != "multipart/form-data":
        raise HTTPException(
            415, "send multipart/form-data with the file in a field named 'content'"
        )
    limits, bounds = services.settings.limits, services.settings.blobs
    max_bytes = min(limits.max_bytes, bounds.file_bytes_per_key, bounds.file_bytes)
    declared = request.headers.get("content-length", "")
    size = max(0, int(declared) - _FORM_BYTES) if declared.isdecimal() else 0
    try:
        await anyio.to_thread.run_sync(
            services.ledger.check_capacity, size, caller.name, caller.max_backlog
        )
    except QueueFull as error:  # then it could not be submitted either
        error.retry_after_s = await services.queue_load.retry_after_full_s()
        raise
    form = await read_form(
        request, await read_body(request, limits, max_bytes + _FORM_BYTES, "file"), max_files=2
    )
    try:
        content = form.get("content")
        if not isinstance(content, UploadFile):
            raise InvalidInput("the multipart body has no file in a field named 'content'")
        given = {name: await _text(value) for name, value in form.items() if name != "content"}
        if len(given.get("metadata", "")) > _METADATA_BYTES:
            raise InvalidInput(f"metadata: keep it under {_METADATA_BYTES:,} bytes")
        fields = _Fields.model_validate(given)
        data = await content.read()
        if len(data) > max_bytes:
            raise too_large(max_bytes, "file")
        named = _Fields(
            filename=fields.filename or content.filename, type=fields.type or content.content_type
        )
    finally:
        await form.close()
    file = await anyio.to_thread.run_sync(
        lambda: services.files.add(
            data,
            caller.name,
            name=named.filename or "file",
            content_type=named.type or "application/octet-stream",
            metadata=fields.metadata,
        )
    )
    answer = FileAnswer.from_file(file, base_url(request))
    response.headers["Location"] = answer.urls.get
    return answer


async def _text(value: UploadFile | str) -> str | bytes:
    """Replicate's JavaScript client sends its metadata as a file."""
    return await value.read() if isinstance(value, UploadFile) else value


@router.get("", responses=problems())
async def list_(request: Request, services: ServicesDep, caller: CallerDep) -> FilePage:
    """Your files, the newest first."""
    found = await anyio.to_thread.run_sync(services.files.list, caller.name)
    return FilePage(results=[FileAnswer.from_file(file, base_url(request)) for file in found])


@router.get("/{id}", responses=problems(HTTPStatus.NOT_FOUND))
async def get(
    file_id: Id, request: Request, services: ServicesDep, caller: CallerDep
) -> FileAnswer:
    """What is known of a file; its bytes are not given back."""
    return FileAnswer.from_file(
        await anyio.to_thread.run_sync(services.files.get, file_id, caller.name), base_url(request)
    )


@router.delete("/{id}", status_code=HTTPStatus.NO_CONTENT, responses=problems(HTTPStatus.NOT_FOUND))
async def delete(file_id: Id, services: ServicesDep, caller: CallerDep) -> None:
    """Forget a file. What was submitted from it already runs on."""
    await anyio.to_thread.run_sync(services.files.delete, file_id, caller.name)
