"""The Python client. Light: `httpx` is the only package that an import needs."""

from sluice.client.aio import AsyncClient
from sluice.client.client import Client
from sluice.client.errors import ServiceError
from sluice.client.events import Event, read_event
from sluice.client.results import Batch, Detection, Output, Prediction

__all__ = [
    "AsyncClient",
    "Batch",
    "Client",
    "Detection",
    "Event",
    "Output",
    "Prediction",
    "ServiceError",
    "read_event",
]
