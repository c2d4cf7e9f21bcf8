"""Celery's transport over connections that lead to the primary; see `primary.py`."""

from typing import Any

from kombu.transport import redis

from sluice.redisio.primary import Primary, ToPrimary, ToPrimaryByTls


class Channel(redis.Channel):
    """A channel that connects as every other part of the process does."""

    from_transport_options: tuple[str, ...] = (  # type: ignore[assignment]
        *redis.Channel.from_transport_options,
        "primary",
    )
    connection_class: Any = ToPrimary
    connection_class_ssl: Any = ToPrimaryByTls
    primary: Primary

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        parameters: Any = super()._connparams  # kombu has no types here
        return {**parameters(asynchronous=asynchronous), "primary": self.primary}


class Transport(redis.Transport):
    """Redis's transport with these channels."""

    Channel = Channel
