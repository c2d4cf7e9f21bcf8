"""Files that are uploaded first and submitted by URL later, as Replicate's clients do."""

from http import HTTPStatus
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Path, Request, Response

from api.auth import CallerDep
from api.deps import FilesDep, SettingsDep, SubmittingDep, base_url
from api.openapi import link, problems
from api.requests.file import check_content_type, declared_file_bytes, read_file
from api.schemas import FileAnswer, FilePage
from sluice.errors import QueueFull

router = APIRouter(prefix="/v1/files", tags=["files"])

FileId = Annotated[
    str,
    Path(alias="id", pattern="^[a-z2-7]{26}$", description="The id from the upload's answer."),
]

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
    check_content_type(request)
    limits, bounds = settings.limits, settings.blobs
    max_bytes = min(limits.max_bytes, bounds.file_bytes_per_key, bounds.file_bytes)
    try:
        # Without room in the queue, the file could not be submitted either.
        await submitting.check_capacity(caller, declared_file_bytes(request))
    except QueueFull as error:
        error.retry_after_s = await submitting.queue_load.retry_after_full_s()
        raise
    upload = await read_file(request, limits, max_bytes)
    file = await anyio.to_thread.run_sync(
        lambda: files.add(
            upload.data,
            caller.name,
            name=upload.name,
            content_type=upload.content_type,
            metadata=upload.metadata,
        )
    )
    answer = FileAnswer.from_file(file, base_url(request))
    response.headers["Location"] = answer.urls.get
    return answer


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
