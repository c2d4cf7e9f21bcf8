"""Submitting one image."""

import base64
import hashlib
import re
import secrets
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Header, Path, Request, Response
from starlette.routing import Route

from api.auth import CallerDep, SubmitterDep, given_key, submitter
from api.deps import Services, ServicesDep, base_url
from api.follow import wait
from api.openapi import LOCATION, PREDICTION_LINKS, RETRY_AFTER, Responses, problems
from api.requests.single import Options, PredictionRequest, Upload, read_upload
from sluice.access.keys import Caller
from sluice.errors import InvalidInput, NotFound, QueueFull
from sluice.images import inspect
from sluice.prediction import Parameters, Prediction, Submission
from sluice.resources import PredictionAnswer

router = APIRouter(prefix="/v1", tags=["predictions"])

_LONGEST_KEY = 255
_QUICK_BYTES = 1_000_000
ID = "^[a-z0-9-]{1,64}$"
Id = Annotated[str, Path(alias="id", pattern=ID, description="Of your choice: a-z, 0-9 and -.")]

_FORM = {
    "type": "object",
    "additionalProperties": False,
    "required": ["image"],
    "properties": {
        "image": {
            "type": "string",
            "format": "binary",
            "description": "The file; or, as text, a URL.",
        },
        **{
            name: field
            for name, field in PredictionRequest.model_json_schema()["properties"].items()
            if name != "input"
        },
        **Parameters.model_json_schema()["properties"],
    },
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/PredictionRequest"}},
            "multipart/form-data": {"schema": _FORM},
            **{
                f"image/{kind}": {"schema": {"type": "string", "format": "binary"}}
                for kind in ("jpeg", "png", "webp", "bmp", "tiff")
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_ACCEPTED: Responses = {
    201: {
        "model": PredictionAnswer,
        "description": "It has ended within the time that `Prefer` gave.",
        "headers": LOCATION,
        "links": PREDICTION_LINKS,
    },
    202: {
        "description": "It is on record, and will end.",
        "headers": {**LOCATION, **RETRY_AFTER},
        "links": PREDICTION_LINKS,
    },
    **problems(
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.GONE,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.TOO_MANY_REQUESTS,
    ),
}
_OPTIONS: Any = {
    "status_code": HTTPStatus.ACCEPTED,
    "response_model": PredictionAnswer,
    "openapi_extra": _BODY,
    "responses": _ACCEPTED,
}
Prefer = Annotated[
    str | None,
    Header(
        description="`wait=N` holds the answer for up to N seconds, until the prediction has ended; `respond-async` does not.",
        examples=["wait=10"],
    ),
]
CancelAfter = Annotated[
    str | None,
    Header(
        description="What has not started after this time is aborted: seconds, or `90s`, `5m`, `1h30m`.",
        examples=["5m"],
        json_schema_extra={
            "pattern": r"^[1-9]\d{0,5}(h([1-9]\d{0,5}m)?([1-9]\d{0,5}s?)?|m([1-9]\d{0,5}s?)?|s)?$"
        },
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=_LONGEST_KEY,
        description="The same submission with the same key is one prediction; another submission with it is refused.",
    ),
]


@router.post("/predictions", **_OPTIONS)
async def submit(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    prefer: Prefer = None,
    cancel_after: CancelAfter = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Submit one image: as JSON, as a multipart form with the file in `image`, or as the body itself.

    With a form, the parameters are fields beside the file; with the image as the body, they are in the query.
    """
    return await submit_fast(
        request
    )  # this route is for OpenAPI: `LEAN` comes before it, and what it declares `lean` reads itself


@router.put("/predictions/{id}", **_OPTIONS)
async def put(
    prediction_id: Id,
    request: Request,
    services: ServicesDep,
    caller: SubmitterDep,
    prefer: Prefer = None,
    cancel_after: CancelAfter = None,
) -> Response:
    """Submit one image under an id of your own, so that you may submit it again when an answer was lost.

    The same submission under the same id changes nothing, and is answered with the prediction as it is now; another one is refused.
    """
    return await _accept(request, services, caller, prediction_id)


@router.post("/models/{owner}/{name}/predictions", **_OPTIONS)
async def submit_to_model(
    owner: Annotated[str, Path(examples=["sluice"])],
    name: Annotated[str, Path(examples=["codes"])],
    request: Request,
    services: ServicesDep,
    caller: SubmitterDep,
    prefer: Prefer = None,
    cancel_after: CancelAfter = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Submit one image to a model by its path, as Replicate's clients do. All owners are one: models have names only."""
    return await _accept(request, services, caller, _keyed_id(request, caller), model=name)


async def submit_fast(request: Request) -> Response:
    """The same as `submit`, and what answers it: without FastAPI around it, which cost more than all that is done here."""
    request.scope["route"] = FAST_ROUTE  # for the metrics
    services: Services = request.app.state.services
    caller = await submitter(services, services.keys.caller(given_key(request)))
    return await _accept(request, services, caller, _keyed_id(request, caller))


FAST_ROUTE = Route("/v1/predictions", submit_fast, methods=["POST"])


async def _accept(
    request: Request,
    services: Services,
    caller: Caller,
    prediction_id: str | None,
    model: str | None = None,
) -> Response:
    """Read the request, headers and all, and answer it. What a route declares of them is for OpenAPI."""
    here = base_url(request)
    wait_s = _wait_s(request.headers.getlist("prefer"), services.settings.api.max_wait_s)
    cancel_after = request.headers.get("cancel-after")
    start_within_s = None if cancel_after is None else seconds(cancel_after)
    try:
        # One that is known already is answered even when the queue is full.
        if prediction_id is None and (
            caller.max_backlog or await services.queue_load.is_nearly_full()
        ):
            declared = request.headers.get("content-length", "")
            size = int(declared) if declared.isdecimal() else 0
            await anyio.to_thread.run_sync(
                services.ledger.check_capacity, size, caller.name, caller.max_backlog
            )
        upload = await resolve_file_url(
            services, caller, await read_upload(request, services.settings.limits), here
        )
        asked = await build_submission(
            services, caller, upload.options, upload.parameters, here, model, start_within_s
        )
        prediction = await accept(services, caller, upload.image, asked, prediction_id)
    except QueueFull as error:
        error.retry_after_s = await services.queue_load.retry_after_full_s()
        raise
    if wait_s:
        prediction = await wait(services, prediction.id, caller.name, wait_s)
    return await _answer(services, prediction, here, wait_s)


async def resolve_file_url(
    services: Services, caller: Caller, upload: Upload, base_url: str
) -> Upload:
    """With the bytes where its URL is that of a file uploaded here. Raises InvalidInput where the caller has no such file."""
    prefix = f"{base_url}/v1/files/"
    if not isinstance(upload.image, str) or not upload.image.startswith(prefix):
        return upload
    try:
        data = await anyio.to_thread.run_sync(
            services.files.read, upload.image.removeprefix(prefix), caller.name
        )
    except NotFound as error:
        raise InvalidInput(f"input.image: {error.message}") from None
    return replace(upload, image=data)


async def build_submission(
    services: Services,
    caller: Caller,
    options: Options,
    parameters: Parameters,
    base_url: str,
    model: str | None,
    start_within_s: float | None,
) -> Submission:
    """The submission but for the image. Raises InvalidInput and its kin."""
    if options.webhook:
        services.guard.check_url(options.webhook)
    chosen = (model or options.model or options.version or services.settings.api.model).rpartition(
        "/"
    )[2]
    await services.catalog.check(chosen, parameters)
    return Submission(
        model=chosen,
        parameters=parameters,
        key=caller.name,
        priority=options.priority,
        metadata=options.metadata,
        start_within_s=start_within_s,
        webhook=options.webhook,
        webhook_events=options.webhook_events_filter or (),
        base_url=base_url if options.webhook else "",
        # Replicate's client in JavaScript sends no key to the URL of a stream.
        ticket=secrets.token_urlsafe(16) if services.settings.api.keys_file else "",
    )


async def accept(
    services: Services,
    caller: Caller,
    image: bytes | str,
    submission: Submission,
    prediction_id: str | None,
) -> Prediction:
    """Look at the image, or at its URL, and put the submission on record. Raises InvalidInput, and what `Intake.accept` raises."""
    if isinstance(image, str):
        services.guard.check_url(image)
        submission = submission.model_copy(update={"image_url": image})

    elif (
        services.fast
        and prediction_id is None
        and _is_quick(image)
        and not await services.queue_load.is_nearly_full()
    ):
        inspect(image, services.settings.limits.max_pixels)
        services.queue_load.accepted()
        return await services.fast.accept(image, submission, caller.max_backlog)

    def take() -> (
        Prediction
    ):  # all that blocks, on one thread: each change of threads costs as much as a look at the image
        if isinstance(image, str):
            return services.intake.accept(
                b"", submission, prediction_id, max_backlog=caller.max_backlog
            )
        inspect(image, services.settings.limits.max_pixels)
        return services.intake.accept(
            image, submission, prediction_id, max_backlog=caller.max_backlog
        )

    prediction = await services.submissions.run(take)
    services.queue_load.accepted()
    return prediction


def _is_quick(image: bytes) -> bool:
    """Whether its header is read in less time than another thread takes to begin."""
    return image.startswith(b"\xff\xd8\xff") and len(image) <= _QUICK_BYTES


async def _answer(
    services: Services, prediction: Prediction, base_url: str, wait_s: float
) -> Response:
    answer = PredictionAnswer.from_prediction(prediction, base_url)
    headers = {"Location": answer.urls.get}
    if wait_s:
        headers["Preference-Applied"] = f"wait={wait_s:g}"
    ended = bool(wait_s) and prediction.status.terminal
    if not ended:
        headers["Retry-After"] = str(await services.queue_load.retry_after_s())
    status = HTTPStatus.CREATED if ended else HTTPStatus.ACCEPTED
    return Response(answer.model_dump_json(), status, headers, "application/json")


def derived_id(caller: Caller, idempotency_key: str, kind: str = "") -> str:
    """The id that belongs to a caller's `Idempotency-Key`: whoever sends it again, to any api process, gets to the same record."""
    found = hashlib.sha256(f"{caller.name}\0{idempotency_key}{kind}".encode()).digest()
    return base64.b32encode(found)[:26].decode().lower()


def _keyed_id(request: Request, caller: Caller) -> str | None:
    """The id that the request's `Idempotency-Key` stands for. Raises InvalidInput."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 1 <= len(key) <= _LONGEST_KEY:
        raise InvalidInput(f"Idempotency-Key: give 1 to {_LONGEST_KEY} characters")
    return derived_id(caller, key)


def _wait_s(prefer: list[str], longest_s: float) -> float:
    """What the lines of `Prefer` (RFC 7240) ask for; the first `wait` counts. What is not understood is ignored, as it says."""
    for preference in ",".join(prefer).split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            try:
                return (
                    min(longest_s, max(0.0, float(value.strip().strip('"'))))
                    if value
                    else longest_s
                )
            except ValueError:
                return 0.0
    return 0.0


def seconds(text: str) -> float:
    """A duration such as `90`, `90s`, `5m` or `1h30m`. Raises InvalidInput."""
    found = re.fullmatch(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s?)?", text.strip())
    hours, minutes, rest = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    total = hours * 3600 + minutes * 60 + rest
    if total <= 0:
        raise InvalidInput(
            "Cancel-After: give a time such as 90, 90s, 5m or 1h30m, of one second or more"
        )
    return float(total)
