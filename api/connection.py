"""A client's connection, with bounds on the time and the size of a request's head.

uvicorn has no such bounds.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: The time for a request's first line and headers, from the connection or from their first byte.
HEAD_S = 10.0
HEAD_BYTES = 65_536


class Connection(HttpToolsProtocol):
    """Closes the connection, without an answer, where a head does not arrive in time.

    A head that is too large is answered with 400.
    """

    _head_timer: asyncio.TimerHandle | None = None
    """Set while a head is awaited."""
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
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

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_S, self.transport.close)
        self._head_bytes = 0

    def _end_head(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None
