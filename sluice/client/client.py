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

_LONGEST_POLL_S = 20.0  # many proxies cut a longer request off
_POLL_MARGIN_S = 10.0  # the time that an answer may take after the end of a long poll


class ServiceError(SluiceError):
    """The service answered with a problem, or did not answer.

    `code` is the problem's code. `status` is the HTTP status, or None without an answer.
    """

    code = "service"

    def __init__(self, message: str, code: str | None = None, status: int | None = None) -> None:
        super().__init__(message)
        # The class has a default, an instance the problem's code.
        self.code = code or type(self).code  # type: ignore[misc]
        self.status = status


class Client:
    """A thread-safe client of one service. Every method raises ServiceError.

    `key` is an API key, for a service that needs one. `timeout_s` bounds the wait for an answer.
    """

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
        """Submit an image, and return the new prediction.

        `parameters` are those of the HTTP interface, such as `confidence`.
        """
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
        """Get a prediction. A running prediction is waited for, up to `wait_s` seconds."""
        return self._json(
            "GET",
            f"/v1/predictions/{prediction_id}",
            params={"wait": wait_s},
            timeout=wait_s + _POLL_MARGIN_S,
        )

    def wait(self, prediction_id: str, *, timeout_s: float = 300.0) -> dict[str, Any]:
        """Wait for the end of a prediction, and return it.

        Raises ServiceError with the code `timeout` after `timeout_s` seconds.
        """
        end = time.monotonic() + timeout_s
        while True:
            left_s = end - time.monotonic()
            prediction = self.get(prediction_id, wait_s=max(0.0, min(_LONGEST_POLL_S, left_s)))
            if prediction["completed_at"] is not None:
                return prediction
            if left_s <= 0:
                raise ServiceError(
                    f"prediction {prediction_id} is still {prediction['status']}"
                    f" after {timeout_s:g} s",
                    "timeout",
                )

    def annotated(self, prediction_id: str) -> bytes:
        """Return the annotated image, of a prediction that was submitted with `visualize`.

        The format is JPEG, or the one that `output_format` asked for.
        """
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
                f"{method} {path}: the service answered {response.status_code}",
                None,
                response.status_code,
            ) from None
