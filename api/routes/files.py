"""Files that are uploaded first and submitted by URL later, as Replicate's clients do."""

import json
from http import HTTPStatus
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, Json, JsonValue, field_validator
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from api.auth import CallerDep
from api.deps import FilesDep, SettingsDep, SubmittingDep, base_url
from api.openapi import link, problems
from api.requests.headers import content_type, declared_bytes
from api.requests.multipart import read_form
from api.requests.receive import read_body, too_large
from api.schemas import FileAnswer, FilePage
from sluice.errors import InvalidInput, QueueFull

router = APIRouter(prefix="/v1/files", tags=["files"])

FileId = Annotated[
    str,
    Path(alias="id", pattern="^[a-z2-7]{26}$", description="The id from the upload's answer."),
]
_FORM_BYTES = 65_536  # for all that a form adds to a file
_METADATA_BYTES = 4096


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
                            "description": "The file's name. Default: the name in the form.",
                        },
                        "type": {
                            "type": "string",
                            "maxLength": 255,
                            "description": "The content type. Default: the one in the form.",
                        },
                        "metadata": {
                            "type": "object",
                            "description": "Any JSON object, at most 4 kB. Answers return it.",
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
    request: Request,
    response: Response,
    settings: SettingsDep,
    submitting: SubmittingDep,
    files: FilesDep,
    caller: CallerDep,
) -> FileAnswer:
    """Upload a file. Submit it by its URL: give the answer's `urls.get` as `input.image`.

    The file is kept until `expires_at`. A key's files may be removed earlier to make room: only
    submitted files, the longest unused first.
    """
    if content_type(request) != "multipart/form-data":
        raise HTTPException(
            415, "send multipart/form-data with the file in a field named 'content'"
        )
    limits, bounds = settings.limits, settings.blobs
    max_bytes = min(limits.max_bytes, bounds.file_bytes_per_key, bounds.file_bytes)
    size = max(0, (declared_bytes(request) or 0) - _FORM_BYTES)
    try:
        # Without room in the queue, the file could not be submitted either.
        await submitting.check_capacity(caller, size)
    except QueueFull as error:
        error.retry_after_s = await submitting.queue_load.retry_after_full_s()
        raise
    form = await read_form(
        request, await read_body(request, limits, max_bytes + _FORM_BYTES, "file"), max_files=2
    )
    try:
        content = form.get("content")
        if not isinstance(content, UploadFile):
            raise InvalidInput("the multipart body has no file in a field named 'content'")
        texts = {name: await _text(value) for name, value in form.items() if name != "content"}
        if len(texts.get("metadata", "")) > _METADATA_BYTES:
            raise InvalidInput(f"metadata: keep it under {_METADATA_BYTES:,} bytes")
        fields = _Fields.model_validate(texts)
        data = await content.read()
        if len(data) > max_bytes:
            raise too_large(max_bytes, "file")
        named = _Fields(
            filename=fields.filename or content.filename, type=fields.type or content.content_type
        )
    finally:
        await form.close()
    file = await anyio.to_thread.run_sync(
        lambda: files.add(
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
async def list_(request: Request, files: FilesDep, caller: CallerDep) -> FilePage:
    """List your files, the newest first."""
    listed = await anyio.to_thread.run_sync(files.list, caller.name)
    return FilePage(results=[FileAnswer.from_file(file, base_url(request)) for file in listed])


@router.get("/{id}", responses=problems(HTTPStatus.NOT_FOUND))
async def get(file_id: FileId, request: Request, files: FilesDep, caller: CallerDep) -> FileAnswer:
    """The record of a file. The file's bytes are never returned."""
    file = await anyio.to_thread.run_sync(files.get, file_id, caller.name)
    return FileAnswer.from_file(file, base_url(request))


@router.delete("/{id}", status_code=HTTPStatus.NO_CONTENT, responses=problems(HTTPStatus.NOT_FOUND))
async def delete(file_id: FileId, files: FilesDep, caller: CallerDep) -> None:
    """Delete a file. Predictions that were submitted from it are not affected."""
    await anyio.to_thread.run_sync(files.delete, file_id, caller.name)
