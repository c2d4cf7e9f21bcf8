"""The models that can be submitted to, as Triton has them.

The api asks over HTTP, since tritonclient would bring numpy with it.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import anyio.to_thread
import httpx

from api.model_list import ListedModel, ModelList, describe
from sluice import logs
from sluice.errors import (
    InvalidInput,
    RedisUnavailable,
    TritonUnavailable,
    UnknownModel,
    UnsupportedModel,
)
from sluice.models import Model, is_step
from sluice.prediction import Parameters
from sluice.redisio.kept_models import KeptModels
from sluice.slicing import check_task

log = logs.get(__name__)

_MIN_REFRESH_INTERVAL_S = 1.0
_REASON_CHARS = 500
_STALE_TTLS = 2
"""Times the list's time to live, after which a submission waits for a new list.

`sluice models remove` waits as long before it counts the predictions that are left.
"""
_FETCH_S = 10.0
"""The time for a whole list. Each of its requests has the client's own time-out."""
_WAIT_S, _SHORT_WAIT_S = 3.0, 0.5
"""The longest waits for a list: where it decides the answer, and where an old one serves."""
_SAVE_EVERY_S = 60.0


@dataclass(frozen=True)
class Outage:
    """Triton takes no requests."""

    message: str
    since: float
    """The time at which this process noticed, in seconds since the epoch."""
    list_at: float | None
    """The time of the list that serves meanwhile; None where there is none."""


class Catalog(Protocol):
    """The models that can be submitted to."""

    async def outage(self) -> Outage | None:
        """None while Triton takes requests, which this call asks it."""

    async def check(self, name: str, parameters: Parameters, version: str | None = None) -> None:
        """Check that the model `name` can run with `parameters`, and has `version` if one is given.

        Passes while Triton is unavailable and no list is known: the worker checks again.
        Raises the errors of the function `check`.
        """

    def imgsz(self, name: str) -> tuple[int, int] | None:
        """The height and width of the model's input, by the last list. None where unknown."""

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
    Raises UnknownModel or UnsupportedModel. Raises InvalidInput for a class that the model lacks,
    and for slices if its task has none.
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
    if parameters.slice:
        check_task(model.task)


def imgsz(models: Mapping[str, ListedModel], name: str) -> tuple[int, int] | None:
    """The height and width of the model's input. None where no such model is loaded."""
    model = models[name].model if name in models else None
    return model.imgsz if isinstance(model, Model) else None


class TritonCatalog:
    """Models from Triton's HTTP endpoint, cached.

    While Triton is unavailable, the last list serves: submissions are accepted and wait. The list
    is kept in Redis too, for an api that starts meanwhile. No caller waits longer than `_WAIT_S`.
    """

    def __init__(self, client: httpx.AsyncClient, kept: KeptModels, *, ttl_s: float) -> None:
        self._client = client
        self._kept = kept
        self._ttl_s = ttl_s
        self._refreshed_at = -float("inf")
        self._list: ModelList | None = None
        self._is_current = False
        self._silent_since: float | None = None
        self._saved: object = None
        """The content that was saved last."""
        self._saved_at = -float("inf")
        # Kept in attributes, since the event loop holds only a weak reference.
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshing_since = 0.0
        self._saving: asyncio.Task[None] | None = None

    async def outage(self) -> Outage | None:
        if self._list is None:
            self._refresh_soon()
        try:
            await self._request("GET", "/v2/health/ready")
        except TritonUnavailable as error:
            models = self._list or await self._after_refresh(_WAIT_S)
            since = self._silent_since or time.time()
            return Outage(error.message, since, models.at if models else None)
        if not self._is_current:  # so that a ready api has a list, and Redis keeps it
            self._refresh_soon()
            await self._after_refresh(_WAIT_S)
        return None

    async def check(self, name: str, parameters: Parameters, version: str | None = None) -> None:
        age_s = self._age_s()
        if age_s >= self._ttl_s or self._list is None:
            self._refresh_soon()
        if age_s >= _STALE_TTLS * self._ttl_s:
            # An api that nobody asked for a while must not accept work for a model that is gone.
            await self._after_refresh(_SHORT_WAIT_S)
        if self._list is None:
            await self._after_refresh(self._wait_s())
        if self._list is None:
            return
        try:
            check(self._list.models, name, parameters, version)
        except InvalidInput:
            # The model, or the version with such a class, may have been added a moment ago.
            self._refresh_soon()
            await self._after_refresh(self._wait_s())
            check(self._list.models, name, parameters, version)

    def imgsz(self, name: str) -> tuple[int, int] | None:
        return imgsz(self._list.models, name) if self._list else None

    async def models(self) -> tuple[Sequence[ListedModel], bool]:
        if self._age_s() >= self._ttl_s or self._list is None:
            self._refresh_soon()
            await self._after_refresh(self._wait_s())
        if self._list is None:
            raise TritonUnavailable("Triton is unavailable; try again later")
        models = sorted(self._list.models.values(), key=lambda listed: listed.name)
        return models, self._is_current

    def _refresh_soon(self) -> None:
        """Begin to fetch a new list, unless that is being done, or was done a moment ago."""
        fresh = self._age_s() < min(self._ttl_s, _MIN_REFRESH_INTERVAL_S)
        if not fresh and (self._refreshing is None or self._refreshing.done()):
            self._refreshing = asyncio.create_task(self._refresh())
            self._refreshing_since = time.monotonic()

    async def _after_refresh(self, wait_s: float) -> ModelList | None:
        """The list, once a refresh has ended or has run for `wait_s`.

        Of many callers only the first ones wait for a Triton that hangs.
        """
        if self._refreshing:
            left_s = self._refreshing_since + wait_s - time.monotonic()
            await asyncio.wait({self._refreshing}, timeout=max(0, left_s))
        return self._list

    def _wait_s(self) -> float:
        """The time to wait for a list that decides the answer."""
        return _WAIT_S if self._is_current or self._list is None else _SHORT_WAIT_S

    async def _refresh(self) -> None:
        if self._list is None:
            self._list = await self._load()
        try:
            async with asyncio.timeout(_FETCH_S):
                models = await self._fetch()
        except (TritonUnavailable, TimeoutError):
            self._is_current = False
            self._note_silence()
        except (KeyError, TypeError, ValueError) as error:
            self._is_current = False
            log.warning(
                "models_unreadable", "Triton's list of models can't be read", error=repr(error)
            )
        else:
            self._list = ModelList(models, time.time())
            self._is_current = True
            self._save_soon(self._list)
        self._refreshed_at = time.monotonic()

    async def _load(self) -> ModelList | None:
        try:
            text = await anyio.to_thread.run_sync(self._kept.load)
        except RedisUnavailable:
            return None
        return None if text is None else ModelList.from_text(text)

    def _save_soon(self, models: ModelList) -> None:
        """Keep the list in Redis, where it has changed, and now and then."""
        content = models.content()
        now = time.monotonic()
        if content == self._saved and now < self._saved_at + _SAVE_EVERY_S:
            return
        text = models.to_text()
        if text is not None:
            self._saved, self._saved_at = content, now
            self._saving = asyncio.create_task(self._save(text))

    async def _save(self, text: bytes) -> None:
        try:
            await anyio.to_thread.run_sync(self._kept.save, text)
        except RedisUnavailable as error:
            self._saved = None  # the next refresh tries again
            log.debug("models_not_kept", "the list of models was not kept in Redis", error=error)

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
            if is_step(entry["name"]):
                continue  # a part of an ensemble
            entries.setdefault(entry["name"], []).append(entry)
        return {
            name: await self._describe(name, versions, runs) for name, versions in entries.items()
        }

    async def _describe(
        self, name: str, versions: Sequence[Mapping[str, str]], runs: Mapping[tuple[str, str], int]
    ) -> ListedModel:
        loaded = [entry["version"] for entry in versions if entry.get("state") == "READY"]
        config: Mapping[str, Any] | None = None
        model: Model | UnsupportedModel | None = None
        version, reason = None, ""
        if loaded:
            version = max(loaded, key=int)
            config = (await self._request("GET", f"/v2/models/{name}/config")).json()
            model = describe(config)
        else:
            reasons = [
                entry.get("reason", "").partition("\n")[0] or entry.get("state", "").lower()
                for entry in versions
            ]
            reason = next(filter(None, reasons), "not loaded")[:_REASON_CHARS]
        previous = self._list.models.get(name) if self._list else None
        return ListedModel(
            name=name,
            model=model,
            reason=reason,
            version=version,
            runs=runs.get((name, version or ""), 0),
            seen_at=previous.seen_at if previous else time.time(),
            config=config,
        )

    async def _request(self, method: str, path: str, body: object = None) -> httpx.Response:
        try:
            response = await self._client.request(method, path, json=body)
            response.raise_for_status()
        except httpx.HTTPError as error:
            self._note_silence()
            raise TritonUnavailable("Triton is unavailable; try again later") from error
        if self._silent_since is not None:
            log.info("triton_answers", "Triton answers again")
            self._silent_since = None
            self._refreshed_at = -float("inf")
        return response

    def _note_silence(self) -> None:
        if self._silent_since is None:
            self._silent_since = time.time()
            log.warning(
                "triton_silent", "Triton does not answer, and the last list of models serves"
            )
