"""Waiting until replicas have a write, so that a failover can't lose it."""

from dataclasses import dataclass
from typing import Any

import redis
from redis.exceptions import RedisError

_PROBE_TTL_S = 60


class NotReplicated(RedisError):
    """Too few replicas confirmed a write in time. The write itself was made."""


@dataclass(frozen=True)
class Replication:
    """How many replicas must have a write, and for how long to wait for them."""

    replicas: int
    timeout_s: float
    probe_key: str
    """A key that may be overwritten at any time."""

    def commands(self) -> tuple[tuple[str | int, ...], tuple[str | int, ...]]:
        """The commands that follow a write, on the same connection.

        WAIT counts the replicas that have the connection's last write, and all earlier ones of any
        connection. The write of the probe makes this true for a caller that changed nothing, since
        an earlier call had.
        """
        return (
            ("SET", self.probe_key, "", "EX", _PROBE_TTL_S),
            ("WAIT", self.replicas, max(1, int(self.timeout_s * 1000))),
        )

    def write(self, client: "redis.Redis", *command: Any) -> Any:
        """Return the answer to a command that writes, once the replicas have its changes.

        Raises NotReplicated, or the answer if it is an error.
        """
        with client.pipeline(transaction=False) as pipe:  # all on one connection, to one server
            execute: Any = pipe.execute_command
            for each in (command, *self.commands()):
                execute(*each)
            answer, _, acknowledged = pipe.execute(raise_on_error=False)
        if isinstance(answer, Exception):
            raise answer
        self.check(acknowledged)
        return answer

    def check(self, answer: object) -> None:
        """Judge the answer to WAIT. Raises NotReplicated, or the answer if it is an error."""
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, int) or answer < self.replicas:
            raise NotReplicated(f"{answer} of {self.replicas} replicas have the write")
