"""The HTTP server: how it begins, and how it ends without cutting off a request."""

import asyncio
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import cast

import uvicorn

from api.connection import Connection, State

_LOOK_S = 0.05
_TICK_S = 1.0
"""The time between two new values of the header `Date`, which has whole seconds."""


_MAX_FILES = 1_048_576  # some systems set no bound at all


def raise_file_limit() -> int:
    """Let this process open as many files as the system allows it. Return that number.

    A soft limit is kept low for programs that use `select`, which this one does not.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return files


class Server(uvicorn.Server):
    """Ends in two steps, since a client may send a request while the server closes its connection.

    For `linger_s` it goes on as before, but each answer says `Connection: close`. Clients then use
    other connections, to another process where there is one. Afterwards uvicorn's own end follows:
    no connection is accepted, idle ones are closed, and open requests get time to end.
    """

    def __init__(
        self, config: uvicorn.Config, state: State, *, linger_s: float, wake: Callable[[], None]
    ) -> None:
        """`wake` has long polls and streams end with the present state."""
        super().__init__(config)
        self.server_state = self._state = state
        self._linger_s = linger_s
        self._wake = wake
        self._told = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal handler, which may run while the loop waits."""
        super().handle_exit(sig, frame)
        if self._loop:
            self._loop.call_soon_threadsafe(self._told.set)

    async def main_loop(self) -> None:
        """Return once the process is told to end. uvicorn's own loop looks ten times a second."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self._told.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.ending = True
        self._wake()
        for connection in self._state.connections:
            cast(Connection, connection).end_after_answer()
        loop = asyncio.get_running_loop()
        until = loop.time() + self._linger_s
        while loop.time() < until and not self.force_exit:  # noqa: ASYNC110 - set by a signal
            await asyncio.sleep(_LOOK_S)
        await super().shutdown(sockets)
