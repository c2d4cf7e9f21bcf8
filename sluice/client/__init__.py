"""The Python client. Light: neither Celery, Redis, Pillow nor anything of the service is imported."""

from sluice.client.client import Client, ServiceError

__all__ = ["Client", "ServiceError"]
