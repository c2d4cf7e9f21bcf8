"""One small HTTP request to this machine. A client with pools and TLS takes longer to make than a server that starts to poll."""

import http.client
import json
from typing import Any


def status(host: str, port: int, path: str, timeout_s: float = 1.0) -> int | None:
    """The status that a GET is answered with, None when nobody answers."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def post(host: str, port: int, path: str, timeout_s: float = 2.0) -> Any:
    """The JSON that an empty POST is answered with. Raises OSError or ValueError."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("POST", path, body=b"{}")
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise ValueError(f"answered with status {answer.status}")
        return json.loads(answer.read())
    except http.client.HTTPException as error:
        raise ValueError(f"answered with something else than HTTP: {error!r}") from None
    finally:
        connection.close()
