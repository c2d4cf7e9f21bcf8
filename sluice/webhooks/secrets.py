"""The secrets that webhooks are signed with: one for each API key, and two while it is being replaced."""

from typing import Protocol

import redis

from sluice.errors import Conflict
from sluice.redisio.connection import translated
from sluice.redisio.names import Names
from sluice.redisio.scripts import load, run
from sluice.webhooks.signing import new_secret

_ROTATE, _RETIRE = (load("sluice.webhooks", name) for name in ("rotate", "retire"))


class Secrets(Protocol):
    """`key` is an API key's name; `default` where keys are off. All raise RedisUnavailable when the store is away."""

    def for_key(self, key: str) -> tuple[str, ...]:
        """All that are valid, the newest first. The first is made when it is first asked for."""

    def rotate(self, key: str) -> None:
        """Make a new one beside the one that is valid. Raises Conflict where there are two already."""

    def retire(self, key: str) -> None:
        """From now on only the newest is valid. Raises Conflict where there is no other."""


class RedisSecrets:
    """In the hash `{queue}:webhook-secrets`, which has no end: it is configuration."""

    def __init__(self, client: "redis.Redis", queue: str) -> None:
        self._redis = client
        self._name = Names(queue).webhook_secrets

    def for_key(self, key: str) -> tuple[str, ...]:
        with translated(), self._redis.pipeline() as pipe:
            pipe.hsetnx(self._name, key, new_secret())
            pipe.hget(self._name, key)
            _, held = pipe.execute()
        return tuple(held.decode().split())

    def rotate(self, key: str) -> None:
        with translated():
            done = run(self._redis, _ROTATE.call([self._name], [key, new_secret()]))
        if not done:
            raise two_already(key)

    def retire(self, key: str) -> None:
        with translated():
            done = run(self._redis, _RETIRE.call([self._name], [key]))
        if not done:
            raise no_other(key)


def two_already(key: str) -> Conflict:
    return Conflict(f"key {key!r} has two valid webhook secrets already; retire the old one first")


def no_other(key: str) -> Conflict:
    return Conflict(f"key {key!r} has no old webhook secret to retire")
