"""Small HTTP requests to servers on this machine.

A full HTTP client, with pools and TLS, would take longer to build than the request takes.
"""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


def status(host: str, port: int, path: str, timeout_s: float = 1.0) -> int | None:
    """GET `path`; returns the HTTP status, or None when no answer comes."""
    with (
        suppress(OSError, http.client.HTTPException),
        _answer("GET", host, port, path, timeout_s) as answer,
    ):
        return answer.status
    return None


def text(host: str, port: int, path: str, timeout_s: float = 1.0) -> str | None:
    """GET `path`; returns the body, or None when no answer comes or its status is not 200."""
    with (
        suppress(OSError, http.client.HTTPException),
        _answer("GET", host, port, path, timeout_s) as answer,
    ):
        body = answer.read()
        return body.decode(errors="replace") if answer.status == http.client.OK else None
    return None


def post(host: str, port: int, path: str, timeout_s: float = 2.0) -> Any:
    """POST an empty object; returns the JSON of the answer. Raises OSError or ValueError."""
    try:
        with _answer("POST", host, port, path, timeout_s, b"{}") as answer:
            if answer.status != http.client.OK:
                raise ValueError(f"answered with status {answer.status}")
            return json.loads(answer.read())
    except http.client.HTTPException as error:
        raise ValueError(f"the answer is not HTTP: {error!r}") from None


@contextmanager
def _answer(
    method: str, host: str, port: int, path: str, timeout_s: float, body: bytes | None = None
) -> Iterator[http.client.HTTPResponse]:
    """The answer to a request. Raises OSError or HTTPException when none comes."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request(method, path, body)
        yield connection.getresponse()
    finally:
        connection.close()
