"""The models that Triton has loaded.

The api asks over HTTP, since tritonclient would bring numpy with it.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from sluice import model_config
from sluice.errors import InvalidInput, TritonUnavailable, UnknownModel, UnsupportedModel
from sluice.models import Model
from sluice.prediction import Parameters

log = logging.getLogger(__name__)

_MIN_REFRESH_INTERVAL_S = 1.0
_REASON_CHARS = 500
_STALE_TTLS = 2
"""Times the list's time to live, after which a submission waits for a new list.

`sluice models remove` waits as long before it counts the predictions that are left.
"""
_STALE_WAIT_S = 0.5


@dataclass(frozen=True)
class ListedModel:
    """A model in Triton's repository."""

    name: str
    model: Model | UnsupportedModel | None
    """The loaded model, or why Sluice can't run it; None where Triton has not loaded it."""
    reason: str
    """Triton's reason for not having loaded the model, else empty."""
    version: str | None
    """The newest loaded version."""
    runs: int
    """Images that Triton ran through this version since it was loaded."""
    seen_at: float
    """The time at which this process first saw the model, in seconds since the epoch."""

    def has_version(self, version: str | None) -> bool:
        """True for the id of its version, which is the model's name, for its number, and None."""
        return version in (None, self.name, self.version)


class Catalog(Protocol):
    """The models that can be submitted to."""

    async def ready(self) -> None:
        """Raises TritonUnavailable when Triton takes no requests."""

    async def check(self, name: str, parameters: Parameters, version: str | None = None) -> None:
        """Check that the model `name` can run with `parameters`, and has `version` if one is given.

        Passes while Triton is unavailable and no model was ever seen: the worker checks again.
        Raises UnknownModel for a model or version that is not loaded. Raises UnsupportedModel, or
        InvalidInput for a class that the model lacks.
        """

    async def models(self) -> tuple[Sequence[ListedModel], bool]:
        """All models by name, loaded or not, and whether the list is current.

        An outdated list is the last one that Triton gave.
        Raises TritonUnavailable when there is none.
        """
        ...


def check(
    models: Mapping[str, ListedModel],
    name: str,
    parameters: Parameters,
    version: str | None = None,
) -> None:
    """Check that the model `name`, one of `models`, can run with `parameters`.

    `version` is what the caller asks for, if anything: the model's name or the version's number.
    Raises UnknownModel, UnsupportedModel, or InvalidInput for a class that the model lacks.
    """
    model = models[name].model if name in models else None
    if model is None:
        loaded = ", ".join(sorted(listed.name for listed in models.values() if listed.model))
        raise UnknownModel(f"no model {name!r} is loaded; there is {loaded or 'none at all'}")
    if isinstance(model, UnsupportedModel):
        raise model
    if model.retired:
        raise UnknownModel(f"model {name!r} is being removed; name another one")
    if not models[name].has_version(version):
        raise UnknownModel(
            f"model {name!r} has no version {version!r}; it has {name!r}, which is also"
            f" {models[name].version!r}. Give model or version, or both of one model"
        )
    model.class_ids(parameters.classes)


class TritonCatalog:
    """Models from Triton's HTTP endpoint, cached.

    While Triton is unavailable, the last list serves: submissions are accepted and wait.
    """

    def __init__(self, client: httpx.AsyncClient, *, ttl_s: float) -> None:
        self._client = client
        self._ttl_s = ttl_s
        self._lock = asyncio.Lock()
        self._refreshed_at = -float("inf")
        self._models: dict[str, ListedModel] | None = None
        self._unavailable = False
        self._task: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        await self._request("GET", "/v2/health/ready")

    async def check(self, name: str, parameters: Parameters, version: str | None = None) -> None:
        stale = self._age_s() >= _STALE_TTLS * self._ttl_s
        models = await self._cached()
        if stale and self._task:
            # An api that nobody asked for a while must not accept work for a model that is gone.
            # Triton may hang, so the wait is short.
            await asyncio.wait({self._task}, timeout=_STALE_WAIT_S)
            models = self._models
        if models is None:
            return
        try:
            check(models, name, parameters, version)
        except InvalidInput:
            # The model, or the version with such a class, may have been added a moment ago.
            check(await self._cached(refresh=True) or models, name, parameters, version)

    async def models(self) -> tuple[Sequence[ListedModel], bool]:
        models = await self._cached(refresh=self._age_s() >= self._ttl_s)
        if models is None:
            raise TritonUnavailable("Triton is unavailable; try again later")
        return sorted(models.values(), key=lambda listed: listed.name), not self._unavailable

    async def _cached(self, *, refresh: bool = False) -> dict[str, ListedModel] | None:
        """The cached list. An old one serves while the next is fetched, since Triton may hang.

        With `refresh`, the call waits for the new list.
        """
        if self._models is None or refresh:
            await self._refresh()
        elif self._age_s() >= self._ttl_s and not self._lock.locked():
            # Kept in an attribute, since the event loop holds only a weak reference.
            self._task = asyncio.create_task(self._refresh())
        return self._models

    async def _refresh(self) -> None:
        async with self._lock:
            if self._age_s() < min(self._ttl_s, _MIN_REFRESH_INTERVAL_S):
                return  # another call refreshed the list while this one waited
            try:
                self._models = await self._fetch()
                self._unavailable = False
            except TritonUnavailable as error:
                self._unavailable = True
                log.warning("the list of models can't be refreshed: %s", error)
            self._refreshed_at = time.monotonic()

    def _age_s(self) -> float:
        return time.monotonic() - self._refreshed_at

    async def _fetch(self) -> dict[str, ListedModel]:
        index: list[dict[str, str]] = (
            await self._request("POST", "/v2/repository/index", {"ready": False})
        ).json()
        stats = (await self._request("GET", "/v2/models/stats")).json()["model_stats"]
        runs = {
            (entry["name"], entry["version"]): int(entry.get("inference_count", 0))
            for entry in stats
        }
        entries: dict[str, list[dict[str, str]]] = {}
        for entry in index:
            if entry["name"].startswith("."):
                continue  # `sluice models add` is writing a model
            entries.setdefault(entry["name"], []).append(entry)
        return {
            name: await self._describe(name, versions, runs) for name, versions in entries.items()
        }

    async def _describe(
        self, name: str, versions: Sequence[Mapping[str, str]], runs: Mapping[tuple[str, str], int]
    ) -> ListedModel:
        loaded = [entry["version"] for entry in versions if entry.get("state") == "READY"]
        model: Model | UnsupportedModel | None = None
        version, reason = None, ""
        if loaded:
            version = max(loaded, key=int)
            config: Mapping[str, Any] = (
                await self._request("GET", f"/v2/models/{name}/config")
            ).json()
            try:
                model = model_config.read(config)
            except UnsupportedModel as error:
                model = error
        else:
            reasons = [
                entry.get("reason", "").partition("\n")[0] or entry.get("state", "").lower()
                for entry in versions
            ]
            reason = next(filter(None, reasons), "not loaded")[:_REASON_CHARS]
        previous = (self._models or {}).get(name)
        seen_at = previous.seen_at if previous else time.time()
        return ListedModel(
            name, model, reason, version, runs.get((name, version or ""), 0), seen_at
        )

    async def _request(self, method: str, path: str, body: object = None) -> httpx.Response:
        try:
            response = await self._client.request(method, path, json=body)
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise TritonUnavailable("Triton is unavailable; try again later") from error
        return response
