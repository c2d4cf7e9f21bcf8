"""The checks of `sluice doctor`. Each returns findings. Only a probe in Redis is written."""

import platform
import resource
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import httpx
from redis.exceptions import RedisError

from sluice import __version__, model_config
from sluice.access import keys
from sluice.errors import SluiceError, UnsupportedModel
from sluice.models import is_step
from sluice.outbound.guard import Guard
from sluice.redisio import connection
from sluice.redisio.health import examine
from sluice.redisio.names import Names
from sluice.settings import RedisAddress, Settings

_TIMEOUT_S = 3.0
_CLOCK_S = 5.0
"""A greater difference breaks the signatures of webhooks at last, which allow five minutes."""
_LEAST_DISK, _LEAST_SHM, _LEAST_FILES = 1 << 30, 128 << 20, 1024
_SHM = Path("/dev/shm")  # noqa: S108  # where regions that Triton shares lie


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    """The service works, but not as well or as safely as it could."""
    FAULT = "fault"
    """The service, or a part of it, can't work."""


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    subject: str
    level: Level
    text: str
    remedy: str = ""
    """The step that puts it right, if there is one."""


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
    checks: list[Callable[[Places], Iterable[Finding]]] = [
        versions,
        redis_server,
        triton,
        api,
        api_keys,
        disk,
        shared_memory,
        file_limit,
    ]
    for check in checks:
        yield from check(places)
    if url:
        yield from reach(places, url)


def versions(_: Places) -> Iterator[Finding]:
    """Python and Sluice."""
    text = f"Sluice {__version__} on Python {platform.python_version()}, {platform.system()}"
    yield Finding("versions", Level.OK, text)


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
    with httpx.Client(base_url=places.triton_http, timeout=_TIMEOUT_S) as http:
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


def api(places: Places) -> Iterator[Finding]:
    """The api's own view of the service, and who has its port where no api answers."""
    try:
        answer = httpx.get(f"{places.api}/readyz", timeout=_TIMEOUT_S)
        ready = answer.json()
        yield from _of_ready(places.api, ready)
        headers = {"Authorization": f"Bearer {places.key}"} if places.key else {}
        load = httpx.get(f"{places.api}/v1/queue", headers=headers, timeout=_TIMEOUT_S)
    except (httpx.HTTPError, ValueError) as error:
        yield _no_api(places, error)
        return
    if load.is_success:
        yield _workers(load.json())
    else:
        text = f"the number of workers is not known: the api answers {load.status_code}"
        yield Finding("workers", Level.WARNING, text, "give an API key with --key")


def _of_ready(address: str, ready: Any) -> Iterator[Finding]:
    if ready.get("status") == "ok":
        yield Finding("api", Level.OK, f"{address} is ready")
    else:
        parts = {name: text for name, text in ready.items() if isinstance(text, str)}
        said = ", ".join(f"{name}: {text}" for name, text in parts.items())
        yield Finding("api", Level.FAULT, f"{address} is not ready: {said}")
    for text in ready.get("warnings", ()):
        yield Finding("api", Level.WARNING, text)


def _workers(load: Any) -> Finding:
    text = f"{load['workers']} workers, {load['backlog']} predictions in the backlog"
    if load["workers"] or not load["backlog"]:
        return Finding("workers", Level.OK, text)
    return Finding("workers", Level.FAULT, text, "start a worker: python -m worker")


def _no_api(places: Places, error: Exception) -> Finding:
    url = httpx.URL(places.api)
    try:
        socket.create_connection((url.host, url.port or 80), _TIMEOUT_S).close()
    except OSError:
        remedy = "start it by `sluice up`, or name its address with --url"
        return Finding("api", Level.WARNING, f"no api answers at {places.api}", remedy)
    text = f"another program than the api answers at {places.api}: {error}"
    return Finding("api", Level.FAULT, text, "end that program, or choose another port with --port")


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


def disk(places: Places) -> Iterator[Finding]:
    """The space for the embedded stack's data, and for temporary files."""
    for name, folder in (("state", places.state), ("temporary", Path(tempfile.gettempdir()))):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        text = f"{free / 2**30:.1f} GB are free for {name} files in {folder}"
        enough = free >= _LEAST_DISK
        yield Finding(
            "disk", Level.OK if enough else Level.WARNING, text, "" if enough else "free some"
        )


def shared_memory(_: Places) -> Iterator[Finding]:
    """The memory through which worker and Triton pass tensors on one host."""
    if not _SHM.is_dir():
        text = "there is no /dev/shm; tensors go to Triton over the network"
        yield Finding("shared memory", Level.WARNING, text)
        return
    usage = shutil.disk_usage(_SHM)
    text = f"{usage.free // 2**20} of {usage.total // 2**20} MB are free in /dev/shm"
    enough = usage.free >= _LEAST_SHM
    remedy = "" if enough else "give the container more: --shm-size, or shm_size in Compose"
    yield Finding("shared memory", Level.OK if enough else Level.WARNING, text, remedy)


def file_limit(_: Places) -> Iterator[Finding]:
    """The bound on open files, of which each connection of a client takes one."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    enough = hard == resource.RLIM_INFINITY or hard >= _LEAST_FILES
    text = f"a process may open {'any number of' if hard == resource.RLIM_INFINITY else hard} files"
    remedy = "" if enough else "raise it: ulimit -Hn 65536"
    yield Finding("file limit", Level.OK if enough else Level.WARNING, text, remedy)


def reach(places: Places, url: str) -> Iterator[Finding]:
    """A URL as Sluice would ask it for a client: the address guard, and then a connection."""
    guard = Guard(places.settings.netguard.allow)
    try:
        guard.check_url(url)
        parsed = httpx.URL(url)
        port = parsed.port or (443 if parsed.scheme == "https" else 80)
        addresses = guard.addresses(parsed.host).result(_TIMEOUT_S)
        socket.create_connection((addresses[0], port), _TIMEOUT_S).close()
    except SluiceError as error:
        remedy = "allow the address in SLUICE_NETGUARD_ALLOW if it is yours"
        yield Finding("reach", Level.FAULT, f"{url}: {error.message}", remedy)
    except (OSError, TimeoutError, ValueError) as error:
        yield Finding("reach", Level.FAULT, f"{url} can't be reached from here: {error}")
    else:
        yield Finding("reach", Level.OK, f"{url} can be reached from here, at {addresses[0]}")
