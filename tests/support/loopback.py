"""HTTP servers on loopback whose answers a test writes, and which remember what was asked of them."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.1, so that connections are kept."""

    protocol_version = "HTTP/1.1"

    def reply(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        """Answer with `headers`, whose names have _ for -."""
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server:
    """`seen` are the requests' paths, `connections` how many were accepted, `names` what TLS clients asked for."""

    def __init__(
        self,
        address: str,
        port: int,
        answer: Callable[[Handler], None],
        context: ssl.SSLContext | None,
    ) -> None:
        self.seen: list[str] = []
        self.connections = 0
        self.names: list[str | None] = []
        server = self

        class Answering(Handler):
            def setup(self) -> None:
                server.connections += 1
                super().setup()

            def do_GET(self) -> None:
                server.seen.append(self.path)
                with suppress(ConnectionError, ssl.SSLError):  # a client that has enough goes away
                    answer(self)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # such as a client that does not trust our certificate

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
    """A server on `address`, which may be any of 127.0.0.0/8, that calls `answer` for each request."""
    server = Server(address, port, answer, context)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()
