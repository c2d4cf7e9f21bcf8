"""How much memory a Redis uses."""

from typing import Any, NamedTuple

import redis


class Memory(NamedTuple):
    """The memory of one Redis, in bytes."""

    used_bytes: int
    max_bytes: int
    """`maxmemory`; 0 where there is no bound."""


def read_memory(client: "redis.Redis") -> Memory:
    """Raises errors of redis-py, such as NoPermissionError."""
    info: Any = client.info("memory")
    return Memory(int(info["used_memory"]), int(info.get("maxmemory", 0)))
