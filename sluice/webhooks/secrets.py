"""Signing secrets of webhooks: one for each API key, and two during a rotation."""

from typing import Protocol

import redis

from sluice.errors import Conflict
from sluice.redisio.connection import translated
from sluice.redisio.names import Names
from sluice.redisio.scripts import load, run
from sluice.webhooks.signing import new_secret

_ROTATE, _RETIRE = (load("sluice.webhooks", name) for name in ("rotate", "retire"))


class Secrets(Protocol):
    """The secrets by the API key's name, which is `default` where keys are off.

    All methods raise RedisUnavailable. Contract tests hold every implementation.
    """

    def for_key(self, key_name: str) -> tuple[str, ...]:
        """The valid secrets, the newest first. The first call makes one."""

    def rotate(self, key_name: str) -> None:
        """Add a new secret. Raises Conflict if two are valid already."""

    def retire(self, key_name: str) -> None:
        """Remove the older secret. Raises Conflict if only one is valid."""


class RedisSecrets:
    """The secrets of one queue, in a Redis hash that never expires. Thread-safe."""

    def __init__(self, client: "redis.Redis", queue: str) -> None:
        self._redis = client
        self._name = Names(queue).webhook_secrets

    def for_key(self, key_name: str) -> tuple[str, ...]:
        with translated(), self._redis.pipeline() as pipe:
            pipe.hsetnx(self._name, key_name, new_secret())
            pipe.hget(self._name, key_name)
            _, secrets = pipe.execute()
        return tuple(secrets.decode().split())

    def rotate(self, key_name: str) -> None:
        with translated():
            done = run(self._redis, _ROTATE.call([self._name], [key_name, new_secret()]))
        if not done:
            raise two_already(key_name)

    def retire(self, key_name: str) -> None:
        with translated():
            done = run(self._redis, _RETIRE.call([self._name], [key_name]))
        if not done:
            raise no_other(key_name)


def two_already(key_name: str) -> Conflict:
    return Conflict(
        f"key {key_name!r} has two valid webhook secrets already; retire the old one first"
    )


def no_other(key_name: str) -> Conflict:
    return Conflict(f"key {key_name!r} has no old webhook secret to retire")
