"""HTTP servers on loopback that answer as a test says, and record their requests."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Speaks HTTP/1.1, which keeps connections open."""

    protocol_version = "HTTP/1.1"

    def reply(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        """Answer; the names of `headers` have _ in place of -."""
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server:
    """A running server, and its records."""

    def __init__(
        self,
        address: str,
        port: int,
        answer: Callable[[Handler], None],
        context: ssl.SSLContext | None,
    ) -> None:
        #: The paths of all requests.
        self.seen: list[str] = []
        #: The number of accepted connections.
        self.connections = 0
        #: The host names that TLS clients asked for.
        self.names: list[str | None] = []
        server = self

        class Answering(Handler):
            def setup(self) -> None:
                server.connections += 1
                super().setup()

            def do_GET(self) -> None:
                server.seen.append(self.path)
                with suppress(ConnectionError, ssl.SSLError):  # a client may go away
                    answer(self)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # for instance a client that does not trust the certificate

        self.http = Quiet((address, port), Answering)
        self.port: int = self.http.server_port
        if context:
            context.sni_callback = lambda _, name, __: self.names.append(name)
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)


@contextmanager
def serving(
    answer: Callable[[Handler], None] = Handler.reply,
    *,
    address: str = "127.0.0.1",
    port: int = 0,
    context: ssl.SSLContext | None = None,
) -> Iterator[Server]:
    """A server on `address`, in 127.0.0.0/8, that calls `answer` for each request."""
    server = Server(address, port, answer, context)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()
