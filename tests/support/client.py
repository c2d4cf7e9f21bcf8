"""The client, with answers as the service gives them. Nothing is repeated."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from sluice import client


class Client:
    """Every method raises `sluice.client.ServiceError`."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout_s: float = 10.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._client = client.Client(
            url, key, timeout_s=timeout_s, retry_for_s=0, transport=transport
        )

    def submit(self, image: bytes | Path, **options: Any) -> dict[str, Any]:
        return self._client.submit(image, **options).raw

    def get(self, prediction_id: str, *, wait_s: float = 0.0) -> dict[str, Any]:
        return self._client.get(prediction_id, wait_s=wait_s).raw

    def wait(self, prediction_id: str, *, timeout_s: float = 300.0) -> dict[str, Any]:
        return self._client.wait(prediction_id, timeout_s=timeout_s).raw

    def annotated(self, prediction_id: str) -> bytes:
        return self._client.annotated(prediction_id)

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
