"""A client's connection, with bounds on the time and the size of a request's head.

The number of connections has a bound too. uvicorn has no such bounds.
"""

import asyncio
import re
import socket
import time
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from api.errors import problem
from sluice import logs
from sluice.errors import Overloaded

log = logs.get(__name__)

#: The time for a request's first line and headers, from the connection or from their first byte.
HEAD_S = 10.0
HEAD_BYTES = 65_536
_ALWAYS_ANSWERED = ("/healthz", "/readyz", "/metrics")
_RETRY_AFTER_S = 5
_BODY_S = 5.0
"""The time for the body of a request that is refused."""
_LOG_EVERY_S = 60.0
_UPGRADE = re.compile(rb"(\n)upgrade(?=[ \t]*:)", re.IGNORECASE)


def listen(host: str, port: int) -> list[socket.socket] | None:
    """A socket for `::` that takes IPv4 too; None for other hosts, which uvicorn listens on.

    asyncio would make it one for IPv6 alone. Raises OSError.
    """
    if host != "::":
        return None
    family = socket.AF_INET6
    return [socket.create_server((host, port), family=family, dualstack_ipv6=True, backlog=2048)]


class State(ServerState):
    """The state that all connections of the process share."""

    def __init__(self, max_connections: int) -> None:
        super().__init__()
        self.max_connections = max_connections
        self.ending = False
        """True once the process is about to end: no connection is kept after its answer."""
        self._logged_at = -_LOG_EVERY_S
        self._refused: dict[Connection, None] = {}
        """The connections above the bound, the oldest first."""

    @property
    def is_full(self) -> bool:
        """Requests of further connections are refused."""
        return len(self.connections) > self.max_connections

    @property
    def keeps_connections(self) -> bool:
        """False where a connection should end with its answer, to make room for others."""
        return not self.ending and len(self.connections) <= self.max_connections * 4 // 5

    def refuse(self, connection: "Connection") -> None:
        """Note a connection above the bound, and close the oldest of them if there are too many.

        The rest of the files is for the process itself. Probes come in also during a flood.
        """
        self._refused[connection] = None
        if len(self._refused) > max(1, self.max_connections // 4):
            oldest = next(iter(self._refused))
            del self._refused[oldest]
            oldest.transport.abort()
        # A flood of connections must not become one of lines.
        if time.monotonic() > self._logged_at + _LOG_EVERY_S:
            self._logged_at = time.monotonic()
            log.warning(
                "connections_refused",
                "as many connections are open as this process takes, and others get 503",
                connections=self.max_connections,
            )

    def forget(self, connection: "Connection") -> None:
        self._refused.pop(connection, None)


class Refusal:
    """ASGI. Answers 503, and the probes and metrics as `app` does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].endswith(_ALWAYS_ANSWERED):
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(_BODY_S):  # a client that still sends would miss the answer
                while (await receive()).get("more_body"):
                    pass
        except TimeoutError:
            pass
        answer = problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            Overloaded.code,
            "this process has as many connections as it may have; try again later",
            headers={"Retry-After": str(_RETRY_AFTER_S), "Connection": "close"},
        )
        await answer(scope, receive, send)


class Connection(HttpToolsProtocol):
    """Closes the connection, without an answer, where a head does not arrive in time.

    A head that is too large is answered with 400.
    """

    server_state: State
    _head_timer: asyncio.TimerHandle | None = None
    """Set while a head is awaited."""
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if self.server_state.is_full:
            self.server_state.refuse(self)
            self.app = Refusal(self.app)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        self.server_state.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head_timer or not (self.cycle and self.cycle.more_body):
            data = without_upgrade(data)
        super().data_received(data)
        if self._head_timer:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response(
                    f"The headers are longer than {HEAD_BYTES:,} bytes;"
                    " send fewer, or shorter ones."
                )

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._head_timer:
            self._await_head()

    def on_headers_complete(self) -> None:
        self._end_head()
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0" and self.cycle:
            self.cycle.send = _Unchunked(self.cycle).send  # type: ignore[method-assign]  # of one cycle
        if not self.server_state.keeps_connections:
            self.end_after_answer()

    def end_after_answer(self) -> None:
        """The next answer that begins says `Connection: close`, and is the last one.

        An answer that has begun said that the connection is kept, so the client may use it again.
        """
        if self.cycle and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Close the connection where it is idle, and else after the answer.

        A connection is not idle while a head arrives. uvicorn would cut off such a request.
        """
        if not self._head_timer:
            super().shutdown()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_S, self.transport.close)
        self._head_bytes = 0

    def _end_head(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None


def without_upgrade(data: bytes) -> bytes:
    """The data, which begin in a head, with a header `Upgrade` under another name.

    A server may ignore the header (RFC 9110, section 7.8), and the api changes to no protocol.
    httptools drops the body of such a request. Java's client offers HTTP/2 with it by default.
    """
    end = data.find(b"\r\n\r\n")
    head = data if end < 0 else data[:end]
    if b"\nupgrade" not in head.lower():  # nearly always; costs less than the pattern
        return data
    return _UPGRADE.sub(rb"\1ignored", head) + data[len(head) :]


class _Unchunked:
    """The answer to a client of HTTP/1.0, which knows no chunks (RFC 9112, section 6.1).

    The end of the connection ends a body without a length.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._send = cycle.send
        self._has_length = False

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message.get("headers", [])}
            self._has_length = b"content-length" in names
            if not self._has_length:
                self._cycle.chunked_encoding = False
        elif message["type"] == "http.response.body" and not self._has_length:
            # uvicorn counts down to the end of a body that has no chunks.
            self._cycle.expected_content_length = len(message.get("body", b""))
        await self._send(message)
