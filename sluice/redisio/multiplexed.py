"""One connection to Redis that everything on an event loop shares: commands go out at once, and their answers come in order.

For the way that most submissions take. redis-py's asyncio client spends three times as much on a submission's two commands
(`docs/decisions/0019-shared-connection.md`). It still makes the connection, for addresses, TLS and passwords are its trade;
what follows is packed and parsed by hiredis.
"""

import asyncio
from collections import deque
from typing import Any, cast

import hiredis
import redis.asyncio
from redis.asyncio.connection import DefaultParser
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, InvalidResponse, TimeoutError

_READ_S = 0.01


class MultiplexedConnection:
    """Of one event loop; connects on first use, and anew after each break. Answers are bytes."""

    def __init__(self, url: str, *, connect_timeout_s: float, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._pool = redis.asyncio.ConnectionPool.from_url(
            url,
            socket_connect_timeout=connect_timeout_s,
            socket_timeout=timeout_s,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            protocol=2,  # nothing comes that was not asked for
        )
        self._connecting: asyncio.Task[_Connection] | None = None
        self._wire: _Connection | None = None

    async def send(self, *commands: tuple[Any, ...]) -> list[Any]:
        """The answers, in order; where Redis answers a command with an error, that exception, not raised.

        Raises redis.exceptions.ConnectionError or TimeoutError: then what was sent may have been done.
        """
        wire = self._wire
        if wire is None or wire.broken:
            # All who come meanwhile wait for the same one: in line, each would wait out a Redis that hangs.
            if self._connecting is None:
                self._connecting = asyncio.create_task(self._connect())
            wire = await asyncio.shield(self._connecting)
        return await wire.send(commands)

    def close(self) -> None:
        """Whoever still waits gets a ConnectionError."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._wire is not None:
            self._wire.fail(ConnectionError("the connection was closed"))
            self._wire = None

    async def _connect(self) -> "_Connection":
        try:
            connection: Any = self._pool.make_connection()  # type: ignore[no-untyped-call]
            await connection.connect()
            self._wire = _Connection(connection, self._timeout_s)
            return self._wire
        finally:
            self._connecting = None


class _Connection(asyncio.Protocol):
    """A connection that redis-py made, from then on without its streams."""

    def __init__(self, connection: Any, timeout_s: float) -> None:
        self.broken = False
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=DefaultParser.parse_error
        )
        self._waiting: deque[tuple[float, int, list[Any], asyncio.Future[list[Any]]]] = deque()
        self._heard_at = 0.0
        self._watch: asyncio.TimerHandle | None = None
        # Taken from it, or it would close what it no longer uses; kept, or the stream would.
        self._stream, connection._writer, connection._reader = connection._writer, None, None
        self._transport = cast(asyncio.Transport, self._stream.transport)
        self._transport.set_protocol(self)

    async def send(self, commands: tuple[tuple[Any, ...], ...]) -> list[Any]:
        now = self._loop.time()
        answered: asyncio.Future[list[Any]] = self._loop.create_future()
        if not self._waiting:
            self._heard_at = now
        self._waiting.append((now, len(commands), [], answered))
        for command in commands:  # not joined: an image would be copied once more
            self._transport.write(hiredis.pack_command(command))
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout_s, self._look)
        return await answered

    def fail(self, error: Exception) -> None:
        self.broken = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        while self._waiting:
            *_, answered = self._waiting.popleft()
            if not answered.done():
                answered.set_exception(
                    type(error)(*error.args)
                )  # one each: whoever raises it writes into it
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        try:
            self._reader.feed(data)
            while (answer := self._reader.gets()) is not False:
                _, count, answers, answered = self._waiting[0]
                answers.append(answer)
                if len(answers) == count:
                    self._waiting.popleft()
                    if not answered.done():  # else nobody waits any longer
                        answered.set_result(answers)
        except (InvalidResponse, IndexError):
            self.fail(ConnectionError("Redis answered what was not asked, or not in its protocol"))

    def connection_lost(self, error: Exception | None) -> None:
        self.fail(ConnectionError("Redis closed the connection"))

    def _look(self, twice: bool = False) -> None:
        """Whoever has waited too long hears of it; where no answer came for as long, the connection is given up."""
        if not twice:  # this process itself may have been held up: what came meanwhile is read before the second look
            self._watch = self._loop.call_later(_READ_S, self._look, True)
            return
        self._watch = None
        oldest = self._loop.time() - self._timeout_s
        error = TimeoutError("Redis did not answer in time")
        if self._waiting and self._heard_at <= oldest:
            self.fail(error)
            return
        for sent_at, _, _, answered in self._waiting:
            if sent_at > oldest:
                break
            if not answered.done():
                answered.set_exception(
                    TimeoutError(*error.args)
                )  # its answer is still taken from the line when it comes
        if self._waiting:
            first = next(
                (sent_at for sent_at, *_, answered in self._waiting if not answered.done()),
                self._loop.time(),
            )
            self._watch = self._loop.call_later(max(first - oldest, 0.001), self._look)
