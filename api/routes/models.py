"""The models, the classes that they find, and whether they are ready."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request

from api.auth import CallerDep
from api.deps import CatalogDep, SettingsDep, base_url
from api.model_list import ListedModel
from api.openapi import problems
from api.requests.schemas import Input
from api.schemas import InputSize, ModelAnswer, ModelPage, VersionAnswer, VersionPage
from sluice.errors import NotFound, UnsupportedModel
from sluice.models import Model
from sluice.prediction import isoformat
from sluice.settings import Settings

router = APIRouter(prefix="/v1/models", tags=["models"])

Name = Annotated[
    str, Path(description="The model's name, from the list of models.", examples=["codes"])
]
Owner = Annotated[str, Path(description="Any name: models have no owners.", examples=["sluice"])]

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
_OUTDATED = "Triton is unavailable; this is the last known state"


@router.get("", responses=problems())
async def list_(
    request: Request, catalog: CatalogDep, settings: SettingsDep, caller: CallerDep
) -> ModelPage:
    """All models in Triton's repository, loaded or not."""
    models, current = await catalog.models()
    url = base_url(request)
    return ModelPage(results=[_answer(listed, current, settings, url) for listed in models])


async def find(
    name: Name, request: Request, catalog: CatalogDep, settings: SettingsDep, caller: CallerDep
) -> ModelAnswer:
    """The model of that name. Raises NotFound, TritonUnavailable."""
    models, current = await catalog.models()
    for listed in models:
        if listed.name == name:
            return _answer(listed, current, settings, base_url(request))
    raise NotFound(
        f"no model {name!r} is known;"
        f" there is {', '.join(listed.name for listed in models) or 'none at all'}"
    )


ModelDep = Annotated[ModelAnswer, Depends(find)]


@router.get("/{name}", responses=problems(HTTPStatus.NOT_FOUND))
async def get(model: ModelDep) -> ModelAnswer:
    """One model. While Triton is unavailable, its last known state."""
    return model


@router.get("/{owner}/{name}", responses=problems(HTTPStatus.NOT_FOUND))
async def get_of_owner(owner: Owner, model: ModelDep) -> ModelAnswer:
    """The same, for Replicate's clients."""
    return model


@router.get("/{owner}/{name}/versions", responses=problems(HTTPStatus.NOT_FOUND))
async def versions(owner: Owner, model: ModelDep) -> VersionPage:
    """The model's version, for Replicate's clients. Empty where the model is not loaded."""
    return VersionPage(results=[model.latest_version] if model.latest_version else [])


@router.get("/{owner}/{name}/versions/{version}", responses=problems(HTTPStatus.NOT_FOUND))
async def version(owner: Owner, version: str, model: ModelDep) -> VersionAnswer:
    """The model's version by its id, for Replicate's clients."""
    latest = model.latest_version
    if latest is None or version not in (latest.id, model.version):
        raise NotFound(
            f"model {model.name!r} has no version {version!r}; "
            + (f"it has {latest.id}" if latest else "it is not loaded")
        )
    return latest


def _answer(listed: ListedModel, current: bool, settings: Settings, base_url: str) -> ModelAnswer:
    model = listed.model if isinstance(listed.model, Model) else None
    reason = listed.reason
    if isinstance(listed.model, UnsupportedModel):
        reason = listed.model.message
    if model and model.retired:
        model, reason = None, "the model is being removed"
    return ModelAnswer(
        name=listed.name,
        default=listed.name == settings.api.model,
        ready=model is not None and current,
        reason=reason or (None if current else _OUTDATED),
        version=listed.version,
        task=model and model.task,
        layout=model and model.layout,
        recipe=model and model.recipe,
        classes=list(model.names) if model else None,
        input=InputSize(height=model.imgsz[0], width=model.imgsz[1]) if model else None,
        run_count=listed.runs,
        url=f"{base_url}/v1/models/{listed.name}",
        description=f"{model.task}: {', '.join(model.names)}"[:1000] if model else None,
        latest_version=_version(listed, model) if model else None,
    )


def _version(listed: ListedModel, model: Model) -> VersionAnswer:
    input_schema = Input.model_json_schema(ref_template="#/components/schemas/{model}")
    parts: dict[str, Any] = input_schema.pop("$defs", {})
    input_schema["properties"]["classes"]["examples"] = [list(model.names[:3])]
    return VersionAnswer(
        id=listed.name,
        created_at=isoformat(listed.seen_at) or "",
        openapi_schema={
            "openapi": "3.1.0",
            "info": {"title": model.name, "version": listed.version},
            "paths": {},
            "components": {"schemas": {**parts, "Input": input_schema, "Output": _OUTPUT}},
        },
    )
