"""A client of the HTTP interface, for Python programs.

with Client("http://127.0.0.1:8080") as client:
    prediction = client.wait(client.submit(Path("desk.jpg"))["id"])
    print(prediction["output"]["predictions"])
"""

import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from sluice.errors import SluiceError

_HOLD_S = 20.0  # how long one long poll is held; longer than most proxies' patience is of no use
_MARGIN_S = 10.0


class ServiceError(SluiceError):
    """The service answered with a problem, or did not answer: `status` is None then. `code` is the problem's own."""

    code = "service"

    def __init__(self, message: str, code: str | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code or type(self).code  # type: ignore[misc]  # an instance has the problem's code, the class a default
        self.status = status


class Client:
    """Thread-safe. `key` is an API key, where the service asks for one. Every method raises ServiceError."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout_s: float = 10.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(
            base_url=url, headers=headers, timeout=timeout_s, transport=transport
        )

    def submit(
        self, image: bytes | Path, *, model: str | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """Submit an image; returns the prediction as it starts. `parameters` are those of the interface, such as `confidence`."""
        data = image if isinstance(image, bytes) else image.read_bytes()
        fields = {
            name: value
            for name, value in {"model": model, **parameters}.items()
            if value is not None
        }
        return self._json(
            "POST",
            "/v1/predictions",
            content=data,
            params=fields,
            headers={"Content-Type": "application/octet-stream"},
        )

    def get(self, prediction_id: str, *, wait_s: float = 0) -> dict[str, Any]:
        """The prediction as it is, or as it is when it ends within `wait_s` seconds."""
        return self._json(
            "GET",
            f"/v1/predictions/{prediction_id}",
            params={"wait": wait_s},
            timeout=wait_s + _MARGIN_S,
        )

    def wait(self, prediction_id: str, *, timeout_s: float = 300.0) -> dict[str, Any]:
        """The prediction when it has ended. Raises ServiceError with the code `timeout` when it has not within `timeout_s`."""
        until = time.monotonic() + timeout_s
        while True:
            left_s = until - time.monotonic()
            prediction = self.get(prediction_id, wait_s=max(0.0, min(_HOLD_S, left_s)))
            if prediction["completed_at"] is not None:
                return prediction
            if left_s <= 0:
                raise ServiceError(
                    f"prediction {prediction_id} is still {prediction['status']} after {timeout_s:g} s",
                    "timeout",
                )

    def annotated(self, prediction_id: str) -> bytes:
        """The annotated image, a JPEG, of a prediction that was submitted with `visualize`."""
        return self._request("GET", f"/v1/predictions/{prediction_id}/image").content

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        body: dict[str, Any] = self._request(method, path, **options).json()
        return body

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise ServiceError(f"{self._http.base_url} did not answer: {error}") from error
        if response.is_success:
            return response
        try:
            problem = response.json()
            raise ServiceError(problem["detail"], problem["code"], response.status_code)
        except (ValueError, KeyError, TypeError):
            raise ServiceError(
                f"{method} {path} was answered {response.status_code}", None, response.status_code
            ) from None
