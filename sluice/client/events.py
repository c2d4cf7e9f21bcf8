"""Events that a webhook receives, verified."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sluice.client.results import Batch, JsonObject, Prediction
from sluice.webhooks.signing import verify


@dataclass(frozen=True)
class Event:
    """One event. A repeated delivery has the same `id`."""

    id: str
    type: str
    """`prediction.start`, `prediction.completed`, `batch.completed` or `webhook.test`."""
    at: datetime
    data: Prediction | Batch | None
    """None for a test event."""
    output_url: str | None
    """The URL of the output where it is too long for an event; `data.output` is None then."""


def read_event(headers: Mapping[str, str], body: bytes, secret: str) -> Event:
    """Return the event in a webhook's request.

    `body` is the request's body as it came. `secret` is what `Client.webhook_secret` returns.
    Raises ValueError where the request was not signed with it, or more than five minutes ago.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    verify(lower, body, secret, time.time())
    event = json.loads(body)
    raw = event["data"]
    readers: Mapping[str, Callable[[JsonObject], Prediction | Batch]] = {
        "prediction": Prediction.from_json,
        "batch": Batch.from_json,
    }
    read = readers.get(event["type"].partition(".")[0])
    return Event(
        id=lower["webhook-id"],
        type=event["type"],
        at=datetime.fromisoformat(event["timestamp"]),
        data=read(raw) if read else None,
        output_url=raw.get("output_url"),
    )
