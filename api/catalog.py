"""Which models Triton has loaded, as its HTTP endpoint says. The api asks over HTTP: tritonclient would bring numpy with it."""

import asyncio
import logging
import time

import httpx

from sluice.errors import TritonUnavailable, UnknownModel, UnsupportedModel
from sluice.models import Model
from sluice.prediction import Parameters

log = logging.getLogger(__name__)

_AT_MOST_EVERY_S = 1.0


class Catalog:
    """What was last seen is kept while Triton is away: a submission is then accepted, and waits."""

    def __init__(self, client: httpx.AsyncClient, *, ttl_s: float) -> None:
        self._client = client
        self._ttl_s = ttl_s
        self._lock = asyncio.Lock()
        self._asked_at = -float("inf")
        self._models: dict[str, Model | UnsupportedModel] | None = None
        self._task: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Raises TritonUnavailable when Triton does not take requests."""
        await self._ask("GET", "/v2/health/ready")

    async def check(self, name: str, parameters: Parameters) -> None:
        """Raises UnknownModel, UnsupportedModel, or InvalidInput for a class that the model does not have.

        Passes when Triton is away and no model was ever seen: the worker checks again.
        """
        models = await self._known()
        if models is None:
            return
        if name not in models:
            models = await self._known(anew=True) or models
        found = models.get(name)
        if found is None:
            raise UnknownModel(f"no model {name!r} is loaded; there is {', '.join(sorted(models)) or 'none at all'}")
        if isinstance(found, UnsupportedModel):
            raise found
        found.class_ids(parameters.classes)

    async def _known(self, *, anew: bool = False) -> dict[str, Model | UnsupportedModel] | None:
        """What is believed. An old list is good enough while the next one is fetched: Triton may hang. `anew` waits for that."""
        if self._models is None or anew:
            await self._refresh()
        elif self._age_s() >= self._ttl_s and not self._lock.locked():
            self._task = asyncio.create_task(self._refresh())  # kept, since the event loop keeps only a weak reference
        return self._models

    async def _refresh(self) -> None:
        async with self._lock:
            if self._age_s() < min(self._ttl_s, _AT_MOST_EVERY_S):
                return  # somebody else has just asked
            try:
                self._models = await self._fetch()
            except TritonUnavailable as error:
                log.warning("the models are not known anew: %s", error)
            self._asked_at = time.monotonic()

    def _age_s(self) -> float:
        return time.monotonic() - self._asked_at

    async def _fetch(self) -> dict[str, Model | UnsupportedModel]:
        index = (await self._ask("POST", "/v2/repository/index", {"ready": True})).json()
        models: dict[str, Model | UnsupportedModel] = {}
        for name in {entry["name"] for entry in index}:
            config = (await self._ask("GET", f"/v2/models/{name}/config")).json()
            try:
                models[name] = Model.from_config(config)
            except UnsupportedModel as error:
                models[name] = error
        return models

    async def _ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        try:
            response = await self._client.request(method, path, json=body)
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise TritonUnavailable("Triton is unavailable; try again later") from error
        return response
