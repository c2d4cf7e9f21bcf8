"""Which models Triton has loaded, as its HTTP endpoint says. The api asks over HTTP: tritonclient would bring numpy with it."""

import asyncio
import logging
import time

import httpx

from sluice.errors import TritonUnavailable, UnknownModel, UnsupportedModel
from sluice.models import Model
from sluice.prediction import Parameters

log = logging.getLogger(__name__)


class Catalog:
    """What was last seen is kept while Triton is away: a submission is then accepted, and waits."""

    def __init__(self, client: httpx.AsyncClient, *, ttl_s: float) -> None:
        self._client = client
        self._ttl_s = ttl_s
        self._lock = asyncio.Lock()
        self._asked_at = -float("inf")
        self._models: dict[str, Model | UnsupportedModel] | None = None

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
        found = models.get(name)
        if found is None:
            raise UnknownModel(f"no model {name!r} is loaded; there is {', '.join(sorted(models)) or 'none at all'}")
        if isinstance(found, UnsupportedModel):
            raise found
        found.class_ids(parameters.classes)

    async def _known(self) -> dict[str, Model | UnsupportedModel] | None:
        async with self._lock:
            if time.monotonic() - self._asked_at >= self._ttl_s:
                self._asked_at = time.monotonic()
                try:
                    self._models = await self._fetch()
                except TritonUnavailable as error:
                    log.warning("the models are not known anew: %s", error)
        return self._models

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
