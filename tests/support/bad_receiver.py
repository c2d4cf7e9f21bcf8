"""A receiver of webhooks that misbehaves: it answers 500, hangs, closes, redirects, or is down."""

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
    """One complete request."""

    id: str
    """The header `webhook-id`."""
    body: bytes
    genuine: bool
    """True where the signature is right."""
    taken: bool
    """True where the answer was 200."""


@dataclass
class BadReceiver:
    """A receiver on a thread of its own."""

    secret: str
    """The secret that signs genuine messages."""
    redirect_to: str
    """The `Location` of the one 302."""
    seed: int = 1
    bad: bool = True
    """False: every message is answered with 200."""
    messages: list[Message] = field(default_factory=list)
    """All messages in the order of their arrival."""
    did: dict[str, int] = field(default_factory=dict)
    """The number of messages for each reaction."""

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
        """Stop listening, and close all open connections."""
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
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the sender was killed, or the receiver is down
        finally:
            self._open.discard(writer)
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False closes the connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = (line.partition(":") for line in head.split("\r\n")[1:] if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in lines}
        body = await reader.readexactly(int(headers["content-length"]))
        reaction = self._reaction()
        self.did[reaction] = self.did.get(reaction, 0) + 1
        self.messages.append(
            Message(
                headers["webhook-id"], body, self._is_genuine(body, headers), reaction == "taken"
            )
        )
        if reaction == "hang":
            await asyncio.sleep(HANG_S)
        if reaction in ("hang", "close"):
            return False
        if reaction == "half":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
            await writer.drain()
            writer.write_eof()
            return False
        line = {"taken": "200 OK", "500": "500 Internal Server Error"}.get(
            reaction, f"302 Found\r\nLocation: {self.redirect_to}"
        )
        writer.write(f"HTTP/1.1 {line}\r\nContent-Length: 2\r\n\r\nok".encode())
        await writer.drain()
        return True

    def _reaction(self) -> str:
        if not self.bad:
            return "taken"
        if "302" not in self.did and len(self.messages) > 10:
            return "302"
        drawn = self._random.random()
        for reaction, share in (("500", 0.10), ("close", 0.03), ("half", 0.03), ("hang", 0.01)):
            if drawn < share:
                return reaction
            drawn -= share
        return "taken"

    def _is_genuine(self, body: bytes, headers: dict[str, str]) -> bool:
        try:
            Webhook(self.secret).verify(body, headers)
        except WebhookVerificationError:
            return False
        return True
