"""A receiver of webhooks that has a bad day: it is down, answers 500, hangs, closes half way, and redirects into the network."""

import asyncio
import random
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

HANG_S = 30.0


@dataclass(frozen=True)
class Message:
    """One request that came whole. `taken`: it was answered 200."""

    id: str
    body: bytes
    genuine: bool
    taken: bool


@dataclass
class BadReceiver:
    """On a thread of its own. `messages` are in the order in which they came; `did` counts what was done to them.

    `redirect_to` is the address of the one 302.
    """

    secret: str
    redirect_to: str
    seed: int = 1
    bad: bool = True
    messages: list[Message] = field(default_factory=list)
    did: dict[str, int] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._random = random.Random(self.seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="bad receiver", daemon=True
        )
        self._thread.start()
        self._port = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/hook?token=1"

    def up(self) -> None:
        asyncio.run_coroutine_threadsafe(self._up(), self._loop).result(10)

    def down(self) -> None:
        """Nobody listens any more, and connections that are open are closed."""
        asyncio.run_coroutine_threadsafe(self._down(), self._loop).result(10)

    async def _up(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _down(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        for writer in list(self._open):
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # whoever sends was killed, or we are down
        finally:
            self._open.discard(writer)
            self._tasks.discard(task)
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection is kept."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = (line.partition(":") for line in head.split("\r\n")[1:] if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in lines}
        body = await reader.readexactly(int(headers["content-length"]))
        deed = self._deed()
        self.did[deed] = self.did.get(deed, 0) + 1
        self.messages.append(
            Message(headers["webhook-id"], body, self._genuine(body, headers), deed == "taken")
        )
        if deed == "hang":
            await asyncio.sleep(HANG_S)
        if deed in ("hang", "close"):
            return False
        if deed == "half":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
            await writer.drain()
            writer.write_eof()
            return False
        line = {"taken": "200 OK", "500": "500 Internal Server Error"}.get(
            deed, f"302 Found\r\nLocation: {self.redirect_to}"
        )
        writer.write(f"HTTP/1.1 {line}\r\nContent-Length: 2\r\n\r\nok".encode())
        await writer.drain()
        return True

    def _deed(self) -> str:
        if not self.bad:
            return "taken"
        if "302" not in self.did and len(self.messages) > 10:
            return "302"
        drawn = self._random.random()
        for deed, share in (("500", 0.10), ("close", 0.03), ("half", 0.03), ("hang", 0.01)):
            if drawn < share:
                return deed
            drawn -= share
        return "taken"

    def _genuine(self, body: bytes, headers: dict[str, str]) -> bool:
        try:
            Webhook(self.secret).verify(body, headers)
        except WebhookVerificationError:
            return False
        return True
