"""A receiver of webhooks on the local machine, for first steps. Verifies each message."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from sluice.webhooks.signing import verify

_MAX_BYTES = 1_000_000


class ReceivedEvent(NamedTuple):
    """A message that arrived."""

    id: str
    payload: dict[str, Any]
    """Empty if the message is refused."""
    error: str | None = None
    """Reason why the message is refused."""


class Receiver:
    """An HTTP server that listens while the context lasts."""

    url: str
    """Address for webhooks."""

    def __init__(
        self,
        get_secret: Callable[[], str],
        on_event: Callable[[ReceivedEvent], None],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """Both functions are called for each message, on a thread of its own.

        `port` 0 takes any free port. Raises OSError if the port is taken.
        """

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def do_POST(self) -> None:
                length = self.headers.get("content-length", "")
                if not length.isdecimal() or int(length) > _MAX_BYTES:
                    self.close_connection = True
                    self._answer(413)
                    return
                body = self.rfile.read(int(length))
                event = _verified(dict(self.headers.items()), body, get_secret)
                on_event(event)
                self._answer(400 if event.error else 204)

            def _answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing: `on_event` reports each message."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{host}:{self._server.server_address[1]}/"
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="receiver", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _verified(headers: dict[str, str], body: bytes, get_secret: Callable[[], str]) -> ReceivedEvent:
    lower = {name.lower(): value for name, value in headers.items()}
    message_id = lower.get("webhook-id", "(no webhook-id)")
    try:
        verify(lower, body, get_secret(), time.time())
        return ReceivedEvent(message_id, json.loads(body))
    except Exception as error:  # a forged message, or a failure to get the secret
        return ReceivedEvent(message_id, {}, str(error))
