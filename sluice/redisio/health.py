"""The state of a Redis as Sluice needs it, and the log line that tells a person what is wrong."""

import logging
import re
import threading
from dataclasses import dataclass
from typing import Any

import redis
from redis.exceptions import OutOfMemoryError, RedisError

from sluice.redisio.names import Names

log = logging.getLogger(__name__)

_PROBE_TTL_S = 60
_INTERVAL_S, _INTERVAL_OF_FAULTS_S = 60.0, 5.0


@dataclass(frozen=True)
class Health:
    """The findings of one examination. Texts are for people, and hold no password."""

    faults: tuple[str, ...] = ()
    """Sluice can't work until these are put right."""
    warnings: tuple[str, ...] = ()
    """Sluice works, but accepted predictions may get lost, or a bound is not kept."""


def examine(client: "redis.Redis", names: Names) -> Health:
    """Write, publish and read as Sluice does, and report each refusal in Redis's own words.

    Never raises an error of Redis.
    """
    try:
        with client.pipeline(transaction=False) as pipe:
            pipe.set(names.probe, "", ex=_PROBE_TTL_S)
            pipe.publish(names.probe_channel, "")
            pipe.info()
            written, published, info = pipe.execute(raise_on_error=False)
    except (RedisError, OSError) as error:
        return Health((f"can't be used: {error}",))
    faults, warnings = [], []
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
    if isinstance(info, Exception):
        warnings.append(f"refuses INFO, so its maxmemory is not observed: {info}")
    else:
        _judge(info, faults, warnings)
    return Health(tuple(faults), tuple(warnings))


def _judge(info: dict[str, Any], faults: list[str], warnings: list[str]) -> None:
    if info.get("cluster_enabled"):
        faults.append("is a Redis Cluster, which Sluice does not support; use a Redis without it")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        warnings.append(
            f"has the maxmemory-policy {policy} and may evict accepted predictions;"
            " set maxmemory-policy to noeviction"
        )


def without_addresses(text: str) -> str:
    """Return `text` for readers outside: redis-py names the address that it connects to."""
    return re.sub(r" connecting to \S+:\d+\.?", " while connecting.", text)


class HealthWatch:
    """A thread that examines a Redis and logs each change of its health.

    `what` names the Redis in the log, such as "Redis".
    """

    def __init__(self, client: "redis.Redis", names: Names, what: str = "Redis") -> None:
        self._client = client
        self._names = names
        self._what = what
        self._health = Health()
        self._stopping = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="redis-health", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.look()
            pause_s = _INTERVAL_OF_FAULTS_S if self._health.faults else _INTERVAL_S
            self._stopping.wait(pause_s)

    def look(self) -> None:
        """Examine once, and log what is new."""
        health = examine(self._client, self._names)
        before, self._health = self._health, health
        for text in set(health.faults) - set(before.faults):
            log.error("%s %s", self._what, text)
        for text in set(health.warnings) - set(before.warnings):
            log.warning("%s %s", self._what, text)
        if before.faults and not health.faults:
            log.info("%s works again", self._what)
