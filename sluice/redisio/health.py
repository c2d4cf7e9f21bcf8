"""The state of a Redis as Sluice needs it, and the log line that tells a person what is wrong."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis
from redis.exceptions import NoPermissionError, OutOfMemoryError, RedisError, ResponseError

from sluice import logs
from sluice.redisio import rights
from sluice.redisio.names import Names
from sluice.redisio.scripts import assemble, run

log = logs.get(__name__)

_PROBE_TTL_S = 60
_LEAST_VERSION = (6, 2)
_EXAMINATION = assemble("sluice/redisio/rights.py", rights.examination(), "sluice.redisio")
_INTERVAL_S, _INTERVAL_OF_FAULTS_S = 10.0, 5.0


@dataclass(frozen=True)
class Health:
    """The findings of one examination. Texts are for people, and hold no password."""

    faults: tuple[str, ...] = ()
    """Sluice can't work until these are put right."""
    warnings: tuple[str, ...] = ()
    """Sluice works, but accepted predictions may get lost, or a bound is not kept."""
    unfit: tuple[str, ...] = ()
    """The faults among them with which no process starts: waiting does not end them."""


def examine(
    client: "redis.Redis",
    names: Names,
    *,
    require_noeviction: bool = False,
    scripts: bool = True,
    min_replicas: int = 0,
) -> Health:
    """Write, publish and read as Sluice does, and report each refusal in Redis's own words.

    Never raises an error of Redis. A Redis for blobs needs no `scripts`, and publishes nothing.
    """
    try:
        with client.pipeline(transaction=False) as pipe:
            pipe.set(names.probe, "", ex=_PROBE_TTL_S)
            pipe.info()
            pipe.get(names.loss)
            written, info, loss = pipe.execute(raise_on_error=False)
        published = _answer(client, "PUBLISH", names.probe_channel, "") if scripts else None
        lacking = _lacking(client, names) if scripts else None
        waited = _answer(client, "WAIT", "0", "1") if min_replicas else None
    except (RedisError, OSError) as error:
        return Health((f"can't be used: {error}",))
    faults: list[str] = []
    warnings: list[str] = []
    unfit: list[str] = []
    if isinstance(loss, bytes):  # see data_loss.py
        warnings.append(loss.decode())
    # A full Redis still finishes what was accepted, and clients get 429.
    if isinstance(written, OutOfMemoryError):
        warnings.append("is full; raise maxmemory, or wait until results expire")
    elif isinstance(written, Exception):
        faults.append(f"refuses to write: {written}")
    if isinstance(published, Exception):
        faults.append(
            f"refuses to publish: {published};"
            f" let the user publish and subscribe, by ACL SETUSER <user> '&{names.tag}:*'"
        )
    if isinstance(waited, Exception):
        faults.append(f"refuses WAIT: {waited}; let the user run it, by ACL SETUSER <user> +wait")
    if lacking:
        faults.append(f"refuses to run scripts: {lacking}")
    if isinstance(info, Exception):
        warnings.append(f"refuses INFO, so its maxmemory is not observed: {info}")
    else:
        policy = _eviction(info)
        faults += _replicas(info, min_replicas)
        unfit += _unfit(info) + (policy if require_noeviction else [])
        warnings += [] if require_noeviction else policy
    return Health((*faults, *unfit), tuple(warnings), tuple(unfit))


def _answer(client: "redis.Redis", *command: str) -> object:
    """The answer to one command. An error that Redis answers is returned, not raised."""
    try:
        execute: Any = client.execute_command
        answer: object = execute(*command)
    except ResponseError as error:
        return error
    return answer


def _lacking(client: "redis.Redis", names: Names) -> str:
    """Words on the commands that scripts run and the user may not; empty where all is well."""
    try:
        missing = run(client, _EXAMINATION.call([names.probe], []))
    except NoPermissionError as error:
        return f"{error}; let the user run them, by ACL SETUSER <user> +evalsha +script|load"
    except ResponseError as error:
        return str(error)
    rules = " ".join(f"+{command.decode().lower()}" for command in missing)
    return f"the user lacks commands; add them by ACL SETUSER <user> {rules}" if rules else ""


def _unfit(info: dict[str, Any]) -> list[str]:
    found = []
    if info.get("cluster_enabled"):
        found.append("is a Redis Cluster, which Sluice does not support; use a Redis without it")
    version = str(info.get("redis_version", ""))
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if numbers and numbers < _LEAST_VERSION:
        found.append(f"is of version {version}; Sluice needs 6.2 or later")
    return found


def _replicas(info: dict[str, Any], wanted: int) -> list[str]:
    found = int(info.get("connected_slaves", 0))
    if found >= wanted:
        return []
    return [f"has {found} replicas, and SLUICE_QUEUE_MIN_REPLICAS asks for {wanted}"]


def _eviction(info: dict[str, Any]) -> list[str]:
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return []
    return [
        f"has the maxmemory-policy {policy} and may evict accepted predictions;"
        " set maxmemory-policy to noeviction"
    ]


def without_addresses(text: str) -> str:
    """Return `text` for readers outside: redis-py names the address that it connects to."""
    return re.sub(r" connecting to \S+:\d+\.?", " while connecting.", text)


class HealthWatch:
    """A thread that examines a Redis and logs each change of its health.

    `what` names the Redis in the log, such as "Redis".
    """

    def __init__(self, examine: Callable[[], Health], what: str = "Redis") -> None:
        self._examine = examine
        self._what = what
        self._health = Health()
        self._stopping = threading.Event()

    def start(self) -> None:
        """Examine now and from now on. Raises ValueError where no process can work with it."""
        self.look()
        if self._health.unfit:
            raise ValueError(f"{self._what} {'; '.join(self._health.unfit)}")
        threading.Thread(target=self._run, name="redis-health", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(
            _INTERVAL_OF_FAULTS_S if self._health.faults else _INTERVAL_S
        ):
            self.look()

    def look(self) -> None:
        """Examine once, and log what is new."""
        health = self._examine()
        before, self._health = self._health, health
        for text in set(health.faults) - set(before.faults):
            log.error("redis_fault", "Sluice can't work with a Redis", redis=self._what, fault=text)
        for text in set(health.warnings) - set(before.warnings):
            log.warning(
                "redis_warning", "a Redis endangers the records", redis=self._what, fault=text
            )
        if before.faults and not health.faults:
            log.info("redis_works", "a Redis works again", redis=self._what)
