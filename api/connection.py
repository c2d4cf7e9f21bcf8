"""A client's connection. uvicorn bounds neither how long a request's head takes nor how large it grows; this does both."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 10.0  # for a request's first line and headers, from the connection or their first byte
HEAD_BYTES = 65_536


class Connection(HttpToolsProtocol):
    """Cut off where a head does not arrive in time, without an answer: nobody may be there. One too large is answered with 400."""

    _due: asyncio.TimerHandle | None = None  # while a head is awaited
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._due:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response(
                    f"The headers are longer than {HEAD_BYTES:,} bytes; send fewer, or shorter ones."
                )

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._due:
            self._await_head()

    def on_headers_complete(self) -> None:
        self._has_head()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._due = self.loop.call_later(HEAD_S, self.transport.close)
        self._head_bytes = 0

    def _has_head(self) -> None:
        if self._due:
            self._due.cancel()
            self._due = None
