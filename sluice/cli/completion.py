"""The values that a shell completes; those of a running service come within a second, or not."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from sluice.client import Client

_TIMEOUT_S = 1.0
_IDS = 30
_URL = "http://127.0.0.1:8080"

Completion = Callable[[typer.Context, str], list[tuple[str, str]]]


def words(*values: str) -> Callable[[str], list[str]]:
    """A completion of fixed words."""

    def complete(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return complete


def _of_service(read: Callable[["Client"], Iterator[tuple[str, str]]]) -> Completion:
    """A completion that asks the service of --url and --key. No answer is no completion."""

    def complete(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
        from sluice.client import Client  # noqa: PLC0415  slow to import

        params: dict[str, Any] = ctx.params
        try:
            with Client(
                params.get("url") or _URL,
                params.get("key"),
                timeout_s=_TIMEOUT_S,
                retry_for_s=0,
            ) as client:
                return [entry for entry in read(client) if entry[0].startswith(incomplete)]
        except Exception:  # a message would end up in the line that a person types
            return []

    return complete


def _models(client: "Client") -> Iterator[tuple[str, str]]:
    for model in client.models():
        yield model.name, model.task or "not ready"


def _ids(client: "Client") -> Iterator[tuple[str, str]]:
    for prediction in islice(client.predictions(), _IDS):
        yield prediction.id, f"{prediction.status}, {prediction.model}"


def _live_ids(client: "Client") -> Iterator[tuple[str, str]]:
    for status in ("starting", "processing"):
        for prediction in islice(client.predictions(status=status), _IDS):
            yield prediction.id, f"{prediction.status}, {prediction.model}"


models = _of_service(_models)
"""The names of the service's models."""
ids = _of_service(_ids)
"""The ids of the newest predictions."""
live_ids = _of_service(_live_ids)
"""The ids of predictions that can be canceled."""
priorities = words("high", "normal", "low")
statuses = words("starting", "processing", "succeeded", "failed", "canceled", "aborted")
