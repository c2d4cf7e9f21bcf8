"""The checks of `sluice doctor` with the extra `operator`. Only a probe in Redis is written."""

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from redis.exceptions import RedisError

from sluice import model_config
from sluice.access import keys
from sluice.cli.basic_checks import TIMEOUT_S, Finding, Level, api, machine, versions
from sluice.errors import SluiceError, UnsupportedModel
from sluice.models import is_step
from sluice.outbound.guard import Guard
from sluice.redisio import connection
from sluice.redisio.health import examine
from sluice.redisio.names import Names
from sluice.settings import RedisAddress, Settings

_CLOCK_S = 5.0
"""A greater difference breaks the signatures of webhooks at last, which allow five minutes."""


@dataclass(frozen=True)
class Places:
    """The parts of the service that the checks ask."""

    settings: Settings
    redis: RedisAddress
    triton_http: str
    api: str
    key: str | None
    """An API key, where the api needs one."""
    state: Path
    """The folder in which the embedded stack keeps its data."""


def all_findings(places: Places, url: str | None = None) -> Iterator[Finding]:
    """Run every check. `url` is one that a client's submission would name."""
    yield from versions()
    yield from redis_server(places)
    yield from triton(places)
    yield from api(places.api, places.key)
    yield from api_keys(places)
    yield from machine(places.state)
    if url:
        yield from reach(places, url)


def redis_server(places: Places) -> Iterator[Finding]:
    """Connection, version, settings, rights and clock of the ledger's Redis."""
    settings = places.settings
    place = f"{places.redis.host}:{places.redis.port}"
    with connection.connect(places.redis) as client:
        health = examine(
            client,
            Names(settings.queue.name),
            require_noeviction=settings.redis.require_noeviction,
        )
        for text in health.faults:
            remedy = (
                "start it (`sluice up` starts all parts), or correct SLUICE_REDIS_URL"
                if "can't be used" in text
                else ""
            )
            yield Finding("redis", Level.FAULT, f"{place} {text}", remedy)
        for text in health.warnings:
            yield Finding("redis", Level.WARNING, f"{place} {text}")
        if any("can't be used" in text for text in health.faults):
            return
        yield from _of_running_redis(client, place)


def _of_running_redis(client: Any, place: str) -> Iterator[Finding]:
    try:
        seconds, micros = client.time()
        difference_s = time.time() - seconds - micros / 1e6
        info = client.info()
    except RedisError as error:
        yield Finding("redis", Level.WARNING, f"{place} refuses TIME or INFO: {error}")
        return
    memory = info.get("maxmemory") or 0
    bound = f"maxmemory {memory // 2**20} MB" if memory else "no maxmemory"
    yield Finding("redis", Level.OK, f"{place} is Redis {info.get('redis_version')}, {bound}")
    if not memory:
        remedy = "set maxmemory below the memory that the machine gives to Redis"
        yield Finding("redis", Level.WARNING, f"{place} has no bound on its memory", remedy)
    if not info.get("aof_enabled"):
        remedy = "set appendonly yes, so that a restart loses at most a second"
        yield Finding("redis", Level.WARNING, f"{place} has no append-only file", remedy)
    level = Level.OK if abs(difference_s) < _CLOCK_S else Level.WARNING
    remedy = "" if level is Level.OK else "set both clocks by NTP"
    text = f"this clock and Redis's differ by {abs(difference_s):.1f} s"
    yield Finding("clock", level, text, remedy)


def triton(places: Places) -> Iterator[Finding]:
    """Version and models of Triton."""
    with httpx.Client(base_url=places.triton_http, timeout=TIMEOUT_S) as http:
        try:
            server = http.get("/v2").raise_for_status().json()
            ready = http.get("/v2/health/ready").is_success
            index = http.post("/v2/repository/index").raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            text = f"{places.triton_http} does not answer: {error}"
            remedy = "start it (`sluice up` starts all parts), or correct SLUICE_TRITON_HTTP_URL"
            yield Finding("triton", Level.FAULT, text, remedy)
            return
        text = f"{places.triton_http} is Triton {server.get('version', 'of an unknown version')}"
        yield Finding("triton", Level.OK if ready else Level.FAULT, text + _unready(ready))
        yield from _models(http, index, places.settings)


def _unready(ready: bool) -> str:
    return "" if ready else ", which is not ready"


def _models(http: httpx.Client, index: Any, settings: Settings) -> Iterator[Finding]:
    found = sorted({entry["name"] for entry in index if not is_step(entry["name"])})
    if settings.api.model not in found:
        text = f"the default model {settings.api.model!r} is not there"
        remedy = "add it by `sluice models add`, or set SLUICE_API_MODEL"
        yield Finding("models", Level.FAULT, text, remedy)
    for name in found:
        states = [entry for entry in index if entry["name"] == name]
        if not any(entry.get("state") == "READY" for entry in states):
            reasons = [str(entry.get("reason", "")) for entry in states]
            reason = next(filter(None, reasons), "not loaded").partition("\n")[0]
            yield Finding("models", Level.WARNING, f"{name} is not loaded: {reason}")
            continue
        try:
            config = http.get(f"/v2/models/{name}/config").raise_for_status().json()
            model = model_config.read(config)
            text = f"{name}: {model.task}, {len(model.names)} classes"
            yield Finding("models", Level.OK, text)
        except UnsupportedModel as error:
            yield Finding("models", Level.WARNING, error.message)
        except (httpx.HTTPError, ValueError) as error:
            yield Finding("models", Level.WARNING, f"{name} can't be read: {error}")


def api_keys(places: Places) -> Iterator[Finding]:
    """The file of API keys."""
    path = places.settings.api.keys_file
    if path is None:
        text = "no keys are needed: everybody who reaches the api may call it"
        yield Finding("keys", Level.OK, text, "see `sluice keys` to change that")
        return
    try:
        names = {entry.name for entry in keys.read(path)}
    except ValueError as error:
        yield Finding("keys", Level.FAULT, str(error))
        return
    text = f"{path} has keys of {len(names)} callers"
    yield Finding("keys", Level.OK if names else Level.WARNING, text)


def reach(places: Places, url: str) -> Iterator[Finding]:
    """A URL as Sluice would ask it for a client: the address guard, and then a connection."""
    guard = Guard(places.settings.netguard.allow)
    try:
        guard.check_url(url)
        parsed = httpx.URL(url)
        port = parsed.port or (443 if parsed.scheme == "https" else 80)
        addresses = guard.addresses(parsed.host).result(TIMEOUT_S)
        socket.create_connection((addresses[0], port), TIMEOUT_S).close()
    except SluiceError as error:
        remedy = "allow the address in SLUICE_NETGUARD_ALLOW if it is yours"
        yield Finding("reach", Level.FAULT, f"{url}: {error.message}", remedy)
    except (OSError, TimeoutError, ValueError) as error:
        yield Finding("reach", Level.FAULT, f"{url} can't be reached from here: {error}")
    else:
        yield Finding("reach", Level.OK, f"{url} can be reached from here, at {addresses[0]}")
