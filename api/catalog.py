"""Which models Triton has loaded, as its HTTP endpoint says. The api asks over HTTP: tritonclient would bring numpy with it."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from sluice.errors import TritonUnavailable, UnknownModel, UnsupportedModel
from sluice.models import Model
from sluice.prediction import Parameters

log = logging.getLogger(__name__)

_AT_MOST_EVERY_S = 1.0
_REASON_CHARS = 500


@dataclass(frozen=True)
class Listed:
    """A model in Triton's repository. `found` is None where it is not loaded; `reason` says why, in Triton's words.

    `version` is the newest that is loaded, `runs` how many images it ran there since, `seen_at` when this process first saw it, in
    seconds since the epoch.
    """

    name: str
    found: Model | UnsupportedModel | None
    reason: str
    version: str | None
    runs: int
    seen_at: float


class Catalog:
    """What was last seen is kept while Triton is away: a submission is then accepted, and waits."""

    def __init__(self, client: httpx.AsyncClient, *, ttl_s: float) -> None:
        self._client = client
        self._ttl_s = ttl_s
        self._lock = asyncio.Lock()
        self._asked_at = -float("inf")
        self._models: dict[str, Listed] | None = None
        self._away = False
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
        if name not in models or models[name].found is None:
            models = await self._known(anew=True) or models
        found = models[name].found if name in models else None
        if found is None:
            loaded = ", ".join(sorted(one.name for one in models.values() if one.found))
            raise UnknownModel(f"no model {name!r} is loaded; there is {loaded or 'none at all'}")
        if isinstance(found, UnsupportedModel):
            raise found
        found.class_ids(parameters.classes)

    async def models(self) -> tuple[Sequence[Listed], bool]:
        """All models by name, also those that are not loaded, and whether Triton said so lately: else it is what was last seen.

        Raises TritonUnavailable when nothing was ever seen.
        """
        found = await self._known(anew=self._age_s() >= self._ttl_s)
        if found is None:
            raise TritonUnavailable("Triton is unavailable; try again later")
        return sorted(found.values(), key=lambda one: one.name), not self._away

    async def _known(self, *, anew: bool = False) -> dict[str, Listed] | None:
        """What is believed. An old list is good enough while the next one is fetched: Triton may hang. `anew` waits for that."""
        if self._models is None or anew:
            await self._refresh()
        elif self._age_s() >= self._ttl_s and not self._lock.locked():
            self._task = asyncio.create_task(
                self._refresh()
            )  # kept, since the event loop keeps only a weak reference
        return self._models

    async def _refresh(self) -> None:
        async with self._lock:
            if self._age_s() < min(self._ttl_s, _AT_MOST_EVERY_S):
                return  # somebody else has just asked
            try:
                self._models = await self._fetch()
                self._away = False
            except TritonUnavailable as error:
                self._away = True
                log.warning("the models are not known anew: %s", error)
            self._asked_at = time.monotonic()

    def _age_s(self) -> float:
        return time.monotonic() - self._asked_at

    async def _fetch(self) -> dict[str, Listed]:
        index: list[dict[str, str]] = (
            await self._ask("POST", "/v2/repository/index", {"ready": False})
        ).json()
        stats = (await self._ask("GET", "/v2/models/stats")).json()["model_stats"]
        runs = {(one["name"], one["version"]): int(one.get("inference_count", 0)) for one in stats}
        entries: dict[str, list[dict[str, str]]] = {}
        for entry in index:
            entries.setdefault(entry["name"], []).append(entry)
        return {
            name: await self._listed(name, versions, runs) for name, versions in entries.items()
        }

    async def _listed(
        self, name: str, versions: Sequence[Mapping[str, str]], runs: Mapping[tuple[str, str], int]
    ) -> Listed:
        loaded = [entry["version"] for entry in versions if entry.get("state") == "READY"]
        found: Model | UnsupportedModel | None = None
        version, reason = None, ""
        if loaded:
            version = max(loaded, key=int)
            config: Mapping[str, Any] = (await self._ask("GET", f"/v2/models/{name}/config")).json()
            try:
                found = Model.from_config(config)
            except UnsupportedModel as error:
                found = error
        else:
            said = [
                entry.get("reason", "").partition("\n")[0] or entry.get("state", "").lower()
                for entry in versions
            ]
            reason = next(filter(None, said), "not loaded")[:_REASON_CHARS]
        known = (self._models or {}).get(name)
        seen_at = known.seen_at if known else time.time()
        return Listed(name, found, reason, version, runs.get((name, version or ""), 0), seen_at)

    async def _ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        try:
            response = await self._client.request(method, path, json=body)
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise TritonUnavailable("Triton is unavailable; try again later") from error
        return response
