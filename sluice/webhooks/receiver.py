"""A receiver of webhooks on this machine, for first steps: it verifies what comes and hands it on."""

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
    """What came: the payload, or what is wrong with it."""

    id: str
    payload: dict[str, Any]
    error: str | None = None


class Receiver:
    """Listens while the context lasts. `secret` is called for each message; `hear` too, on the message's own thread."""

    def __init__(
        self,
        secret: Callable[[], str],
        hear: Callable[[ReceivedEvent], None],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """`port` 0 is any that is free. Raises OSError where it is taken."""

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def do_POST(self) -> None:
                length = self.headers.get("content-length", "")
                if not length.isdecimal() or int(length) > _MAX_BYTES:
                    self.close_connection = True
                    self._answer(413)
                    return
                event = _read(dict(self.headers.items()), self.rfile.read(int(length)), secret)
                hear(event)
                self._answer(400 if event.error else 204)

            def _answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """`hear` says more."""

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


def _read(headers: dict[str, str], body: bytes, secret: Callable[[], str]) -> ReceivedEvent:
    lower = {name.lower(): value for name, value in headers.items()}
    name = lower.get("webhook-id", "(no webhook-id)")
    try:
        verify(lower, body, secret(), time.time())
        return ReceivedEvent(name, json.loads(body))
    except (
        Exception
    ) as error:  # whatever a stranger sends, or the service that is asked for the secret
        return ReceivedEvent(name, {}, str(error))
