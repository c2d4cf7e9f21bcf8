"""One connection to Redis for everything on an event loop: commands go out at once.

Answers come in the order of the commands. Most submissions use this connection, since the asyncio
client of redis-py costs much more (`docs/decisions/0019-shared-connection.md`). redis-py still
opens the connection, with its address, TLS and password; hiredis packs and parses the commands.
"""

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, cast

import hiredis
from redis.asyncio.connection import DefaultParser
from redis.exceptions import ConnectionError, InvalidResponse, RedisError, TimeoutError

from sluice.redisio.connection import connections
from sluice.redisio.replication import Replication
from sluice.redisio.statistics import ROUND_TRIPS
from sluice.settings import RedisAddress

_STEPS = 50  # of the clock, in a time-out
# A caller's answer may take so many time-outs, while others get theirs: Redis is slow, not silent.
_PATIENCE = 10


class MultiplexedConnection:
    """Belongs to one event loop; connects on first use and after each break. Answers are bytes.

    With `replication`, callers get their answers once so many replicas have their writes.
    """

    def __init__(self, address: RedisAddress, replication: Replication | None = None) -> None:
        self._timeout_s = address.timeout_s
        self._replication = replication
        self._pool = connections(address)
        self._connecting: asyncio.Task[_Connection] | None = None
        self._wire: _Connection | None = None

    async def send(self, *commands: tuple[Any, ...]) -> list[Any]:
        """The answers, in order. An error that Redis answers is in the list, not raised.

        Raises redis.exceptions.ConnectionError, TimeoutError or NotReplicated; the commands may
        have run then.
        """
        wire = self._wire
        if wire is None or wire.broken:
            # All callers wait for the same attempt: one after another, each would wait for its own
            # time-out while Redis hangs.
            if self._connecting is None:
                self._connecting = asyncio.create_task(self._connect())
            wire = await asyncio.shield(self._connecting)
        sent_at = time.perf_counter()
        answers = await wire.send(commands)
        ROUND_TRIPS.add(seconds=time.perf_counter() - sent_at)
        if self._replication is not None:
            await wire.confirm(self._replication)
        return answers

    async def ask(self, *commands: tuple[Any, ...]) -> list[Any]:
        """`send`, and once more where the connection had broken unnoticed.

        Only for commands that may run twice. Raises also an error that Redis answers.
        """
        try:
            answers = await self.send(*commands)
        except ConnectionError:
            answers = await self.send(*commands)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def close(self) -> None:
        """Callers that still wait get a ConnectionError."""
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
    """A connection that redis-py opened, and whose socket is used without redis-py from then on."""

    def __init__(self, connection: Any, timeout_s: float) -> None:
        self.broken = False
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._clock = _TurnsClock(timeout_s / _STEPS)
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=DefaultParser.parse_error
        )
        self._waiting: deque[_Call] = deque()
        self._moved_at = 0.0
        self._written, self._flushed = 0, 0
        self._watch: asyncio.TimerHandle | None = None
        self._confirming: asyncio.Task[RedisError | None] | None = None
        self._next_confirming: asyncio.Task[RedisError | None] | None = None
        self._primary = connection.primary
        self._primary.add(self)
        # redis-py would close the socket with its own objects, so they lose it. The stream is kept,
        # since it closes the socket when it is collected.
        self._stream, connection._writer, connection._reader = connection._writer, None, None
        self._transport = cast(asyncio.Transport, self._stream.transport)
        self._transport.set_protocol(self)

    async def send(self, commands: tuple[tuple[Any, ...], ...]) -> list[Any]:
        if not self._waiting:
            self._moved_at = self._clock.restart()
        for command in commands:  # joining them would copy the image once more
            packed = hiredis.pack_command(command)
            self._written += len(packed)
            self._transport.write(packed)
        call = _Call(self._clock.time_s, self._written, len(commands), self._loop.create_future())
        self._waiting.append(call)
        if self._watch is None:
            self._watch = self._loop.call_later(self._clock.step_s, self._look)
        return await call.answered

    async def confirm(self, replication: Replication) -> None:
        """Return once replicas have all that was answered on this connection until now.

        One WAIT serves all callers that ask while the one before is on its way: Redis reads
        nothing from a connection that waits.
        """
        if self._next_confirming is None:
            self._next_confirming = asyncio.create_task(
                self._confirm_after(self._confirming, replication)
            )
        error = await asyncio.shield(self._next_confirming)
        if error is not None:  # each caller gets its own exception, as in `fail`
            raise type(error)(*error.args)

    async def _confirm_after(
        self, before: "asyncio.Task[RedisError | None] | None", replication: Replication
    ) -> RedisError | None:
        if before is not None:
            await asyncio.wait([before])
        self._confirming, self._next_confirming = self._next_confirming, None
        try:
            if self.broken:
                raise ConnectionError("the connection broke before replicas confirmed the write")
            *_, acknowledged = await self.send(replication.commands())
            replication.check(acknowledged)
        except RedisError as error:
            return error
        return None

    def drop(self) -> None:
        """End the connection, from any thread; see `sluice/redisio/primary.py`."""
        error = ConnectionError("Redis's primary is another server now")
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self.fail, error)

    def fail(self, error: Exception) -> None:
        self.broken = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        while self._waiting:
            answered = self._waiting.popleft().answered
            if not answered.done():
                # Each caller gets its own exception, since raising one adds a traceback to it.
                answered.set_exception(type(error)(*error.args))
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._moved_at = self._clock.time_s
        try:
            self._reader.feed(data)
            while (answer := self._reader.gets()) is not False:
                if self._primary.is_refused_by(self, answer):
                    self.fail(ConnectionError(f"Redis takes no writes: {answer}"))
                    return
                call = self._waiting[0]
                call.answers.append(answer)
                if len(call.answers) == call.commands:
                    self._waiting.popleft()
                    if not call.answered.done():  # else the caller has given up
                        call.answered.set_result(call.answers)
        except (InvalidResponse, IndexError):
            self.fail(ConnectionError("Redis sent an answer that was not expected"))

    def connection_lost(self, error: Exception | None) -> None:
        self.fail(ConnectionError("Redis closed the connection"))

    def _look(self) -> None:
        """The connection is given up where nothing moved on it for the time-out.

        A caller whose own answer takes much longer gets a TimeoutError alone.
        """
        now = self._clock.step()
        self._watch = None
        if not self._waiting:
            return
        flushed = self._written - self._transport.get_write_buffer_size()
        # A large image over a slow network is written for longer than the time-out. Only the oldest
        # caller's bytes count: the kernel takes those of new callers, though Redis hangs.
        if self._flushed < min(flushed, self._waiting[0].end):
            self._moved_at = now
        self._flushed = flushed
        # A caller may have come just before a step of the clock, which it did not wait for.
        waited_s = now - self._moved_at - self._clock.step_s
        error = TimeoutError("Redis did not answer in time")
        if waited_s >= self._timeout_s:
            self.fail(error)
            return
        oldest = now - _PATIENCE * self._timeout_s
        for call in self._waiting:
            if call.sent_at > oldest:
                break
            if not call.answered.done():
                # The late answer is still read, and dropped.
                call.answered.set_exception(TimeoutError(*error.args))
        self._watch = self._loop.call_later(self._clock.step_s, self._look)


@dataclass(slots=True)
class _Call:
    """A caller's commands on their way."""

    sent_at: float
    """The clock's time."""
    end: int
    """The connection's bytes up to the end of these commands."""
    commands: int
    answered: asyncio.Future[list[Any]]
    answers: list[Any] = field(default_factory=list)


class _TurnsClock:
    """Seconds in which the event loop took its turns; a turn counts as two steps at most.

    With thousands of bodies to read, a turn of the loop takes seconds. Redis has answered
    meanwhile, and the loop would read it next. Such time is not Redis's.
    """

    def __init__(self, step_s: float) -> None:
        self.step_s = step_s
        self.time_s = 0.0
        self._stepped_at = 0.0

    def restart(self) -> float:
        """Return the time; what passed since the last step does not count."""
        self._stepped_at = time.monotonic()
        return self.time_s

    def step(self) -> float:
        """Return the time. Called once in `step_s`, or later where the loop is busy."""
        now = time.monotonic()
        self.time_s += min(now - self._stepped_at, 2 * self.step_s)
        self._stepped_at = now
        return self.time_s
