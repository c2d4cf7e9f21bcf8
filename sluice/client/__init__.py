"""The Python client. Light: `httpx` is the only package that an import needs."""

from sluice.client.client import Client, ServiceError

__all__ = ["Client", "ServiceError"]
