"""What models there are, what they find, and whether they are ready."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request

from api.auth import CallerDep
from api.catalog import ListedModel
from api.deps import Services, ServicesDep, base_url
from api.openapi import problems
from api.requests.single import Input
from api.schemas import InputSize, ModelAnswer, ModelPage, VersionAnswer, VersionPage
from sluice.errors import NotFound
from sluice.models import Model
from sluice.prediction import isoformat

router = APIRouter(prefix="/v1/models", tags=["models"])

Name = Annotated[
    str, Path(description="The model's name, as the list gives it.", examples=["codes"])
]
Owner = Annotated[str, Path(description="Any: models have names only.", examples=["sluice"])]

_OUTPUT = {
    "type": "object",
    "properties": {
        "image": {
            "type": "object",
            "properties": {"width": {"type": "integer"}, "height": {"type": "integer"}},
        },
        "predictions": {"type": "array", "items": {"type": "object"}},
    },
}
_TRITON_IS_AWAY = "Triton is unavailable; this is what was last seen"


@router.get("", responses=problems())
async def list_(request: Request, services: ServicesDep, caller: CallerDep) -> ModelPage:
    """All models in Triton's repository, also those that are not loaded."""
    found, current = await services.catalog.models()
    return ModelPage(results=[_answer(request, services, one, current) for one in found])


@router.get("/{name}", responses=problems(HTTPStatus.NOT_FOUND))
async def get(
    name: Name, request: Request, services: ServicesDep, caller: CallerDep
) -> ModelAnswer:
    """One model. While Triton is away, as it was last seen."""
    return await _find(request, services, name)


@router.get("/{owner}/{name}", responses=problems(HTTPStatus.NOT_FOUND))
async def get_of_owner(
    owner: Owner, name: Name, request: Request, services: ServicesDep, caller: CallerDep
) -> ModelAnswer:
    """The same, for Replicate's clients."""
    return await _find(request, services, name)


@router.get("/{owner}/{name}/versions", responses=problems(HTTPStatus.NOT_FOUND))
async def versions(
    owner: Owner, name: Name, request: Request, services: ServicesDep, caller: CallerDep
) -> VersionPage:
    """The model's version, for Replicate's clients; none where it is not loaded."""
    version = (await _find(request, services, name)).latest_version
    return VersionPage(results=[version] if version else [])


@router.get("/{owner}/{name}/versions/{version}", responses=problems(HTTPStatus.NOT_FOUND))
async def version(
    owner: Owner,
    name: Name,
    version: str,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
) -> VersionAnswer:
    """The model's version, for Replicate's clients, by its id."""
    found = (await _find(request, services, name)).latest_version
    if found is None or version != found.id:
        raise NotFound(
            f"model {name!r} has no version {version!r}; "
            + (f"it has {found.id}" if found else "it is not loaded")
        )
    return found


async def _find(request: Request, services: Services, name: str) -> ModelAnswer:
    found, current = await services.catalog.models()
    for one in found:
        if one.name == name:
            return _answer(request, services, one, current)
    raise NotFound(
        f"no model {name!r} is known; there is {', '.join(one.name for one in found) or 'none at all'}"
    )


def _answer(request: Request, services: Services, one: ListedModel, current: bool) -> ModelAnswer:
    model = one.model if isinstance(one.model, Model) else None
    reason = one.reason if one.model is None else None if model else str(one.model)
    return ModelAnswer(
        name=one.name,
        default=one.name == services.settings.api.model,
        ready=model is not None and current,
        reason=reason or (None if current else _TRITON_IS_AWAY),
        version=one.version,
        task=model and model.task,
        layout=model and model.layout,
        classes=list(model.names) if model else None,
        input=InputSize(height=model.imgsz[0], width=model.imgsz[1]) if model else None,
        run_count=one.runs,
        url=f"{base_url(request)}/v1/models/{one.name}",
        description=f"{model.task}: {', '.join(model.names)}"[:1000] if model else None,
        latest_version=_version(one, model) if model else None,
    )


def _version(one: ListedModel, model: Model) -> VersionAnswer:
    given: dict[str, Any] = Input.model_json_schema()
    given["properties"]["classes"]["examples"] = [list(model.names[:3])]
    schemas = {"Input": given, "Output": _OUTPUT}
    info = {"title": model.name, "version": one.version}
    return VersionAnswer(
        id=one.name,
        created_at=isoformat(one.seen_at) or "",
        openapi_schema={
            "openapi": "3.1.0",
            "info": info,
            "paths": {},
            "components": {"schemas": schemas},
        },
    )
