"""Small HTTP requests to servers on this machine.

A full HTTP client, with pools and TLS, would take longer to build than the request takes.
"""

import http.client
import json
from typing import Any


def status(host: str, port: int, path: str, timeout_s: float = 1.0) -> int | None:
    """GET `path`; returns the HTTP status, or None when no answer comes."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def text(host: str, port: int, path: str, timeout_s: float = 1.0) -> str | None:
    """GET `path`; returns the body, or None when no answer comes or its status is not 200."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return body.decode(errors="replace") if answer.status == http.client.OK else None


def post(host: str, port: int, path: str, timeout_s: float = 2.0) -> Any:
    """POST an empty object; returns the JSON of the answer. Raises OSError or ValueError."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("POST", path, body=b"{}")
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise ValueError(f"answered with status {answer.status}")
        return json.loads(answer.read())
    except http.client.HTTPException as error:
        raise ValueError(f"the answer is not HTTP: {error!r}") from None
    finally:
        connection.close()
