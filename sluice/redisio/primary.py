"""Connections that lead to the primary, and end as soon as it is another server, or they are dead.

A server that was demoted keeps its connections: it answers reads, from data that may be old, and
refuses writes. The first refusal ends all connections of the process to that server. Each next one
is made to the server that the name, or the Sentinels, lead to then.

A connection may be dead without an end, as after a partition. A call that waits asks on a new
connection. Redis's answer there tells a dead connection from a slow Redis.
"""

import asyncio
import contextlib
import functools
import re
import socket
import threading
import time
import weakref
from dataclasses import replace
from typing import Any, Protocol

import redis
import redis.asyncio
import redis.sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    ConnectionError,
    MasterDownError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

from sluice import logs
from sluice.redisio.statistics import ROUND_TRIPS
from sluice.settings import RedisAddress

log = logs.get(__name__)

#: Answers of a server that takes no writes any more. A script's error has them inside its text.
_DEMOTED = re.compile(r"\b(READONLY|MASTERDOWN|UNBLOCKED)\b|read only replica")
#: Too few replicas: perhaps a primary that was cut off, while another one was chosen.
_ALONE = re.compile(r"\bNOREPLICAS\b|enough good replicas")
_PAUSE_S = 1.0
_LOOK_S = 1.0
#: A call that waits for so long asks on a new connection. Workers block on the queue for 1 s.
_SILENCE_S = 1.5
_PROBE_S = 0.5
_LAST_WORD_S = 0.2


class Droppable(Protocol):
    """A connection that can be ended from any thread."""

    def drop(self) -> None:
        """End the connection. A caller that waits for its answer gets a ConnectionError."""


class Primary:
    """The place of one Redis's primary, and the process's connections to it. Thread-safe."""

    def __init__(
        self, address: RedisAddress, tls: dict[str, Any], sentinel_options: dict[str, Any]
    ) -> None:
        self._address = address
        self._tls = tls
        self._sentinel: Any = None
        if address.sentinels:
            make: Any = redis.sentinel.Sentinel
            self._sentinel = make(address.sentinels.places, sentinel_kwargs=sentinel_options)
        self._connections: weakref.WeakSet[Droppable] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._dropped_at = -float("inf")
        self._place: tuple[str, int] | None = None
        self._watching = False
        self._asking = threading.Lock()
        self._asked_at = -float("inf")
        self._answers = False

    @property
    def must_be_asked(self) -> bool:
        """True if only the Sentinels know the place."""
        return self._sentinel is not None

    def find(self) -> tuple[str, int]:
        """Return host and port. Blocks while Sentinels are asked.

        With Sentinels, a thread looks for another primary from now on, while connections are open.
        Raises redis.exceptions.ConnectionError if no Sentinel knows a primary.
        """
        if self._sentinel is None:
            return self._address.host, self._address.port
        assert self._address.sentinels
        host, port = self._sentinel.discover_master(self._address.sentinels.master)
        with self._lock:
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name="sentinels", daemon=True).start()
        return str(host), int(port)

    def _watch(self) -> None:
        while True:
            time.sleep(_LOOK_S)
            with self._lock:
                if not self._connections:
                    self._watching = False
                    return
            self.look()

    def look(self) -> None:
        """Ask the Sentinels, and end all connections if they name another place than before.

        A primary that was cut off from them takes writes that will be lost.
        """
        try:
            place = self.find()
        except RedisError as error:
            log.debug("primary_unknown", "no Sentinel knows a primary", error=error)
            return
        before, self._place = self._place, place
        if before not in (None, place):
            log.warning(
                "primary_changed", "Redis's primary is another server, as the Sentinels say"
            )
            self._drop_all()

    def answers(self) -> bool:
        """Return whether the primary answers a new connection within half a second or so.

        Threads that ask at a time share one answer.
        """
        began_at = time.monotonic()
        with self._asking:
            if self._asked_at < began_at:
                self._answers = self._ask()
                self._asked_at = time.monotonic()
            return self._answers

    def _ask(self) -> bool:
        kind = ToPrimaryByTls if self._address.tls else ToPrimary
        probe = kind(
            primary=self,
            db=self._address.database,
            username=self._address.username,
            password=self._address.password,
            socket_connect_timeout=self._address.connect_timeout_s,
            socket_timeout=_PROBE_S,
            retry=Retry(NoBackoff(), 0),
            **self._tls,
        )
        try:
            probe.send_command("PING")  # type: ignore[no-untyped-call]
            probe.read_response()
        except RedisError as error:
            log.debug("probe_failed", "Redis does not answer a new connection", error=error)
            return False
        finally:
            probe.disconnect()  # type: ignore[no-untyped-call]
        return True

    def drop_silent(self) -> None:
        """End the process's connections on which nothing came lately.

        One is known to be dead, while Redis answers. The others may be as dead.
        """
        log.warning("connection_dead", "a connection to Redis is dead; connecting again")
        with self._lock:
            silent = [each for each in self._connections if not _was_heard_lately(each)]
            self._connections.difference_update(silent)
        for connection in silent:
            connection.drop()

    def add(self, connection: Droppable) -> None:
        """Remember a connection that was just made."""
        with self._lock:
            self._connections.add(connection)

    def is_refused_by(self, connection: Droppable, answer: object) -> bool:
        """Return whether this answer means that the connection must end.

        A server that was demoted loses the process's other connections too.
        """
        if not isinstance(answer, ResponseError):
            return False
        text = str(answer)
        if isinstance(answer, (ReadOnlyError, MasterDownError)) or _DEMOTED.search(text):
            with self._lock:
                known = connection in self._connections
                # Results stay readable while a name leads to a replica for longer.
                recently = time.monotonic() - self._dropped_at < _PAUSE_S
                self._connections.discard(connection)
            if known and not recently:
                log.warning(
                    "primary_demoted", "Redis is no primary any more; connecting again", error=text
                )
                self._drop_all()
            return True
        return bool(_ALONE.search(text))

    def _drop_all(self) -> None:
        with self._lock:
            self._dropped_at = time.monotonic()
            connections = list(self._connections)
            self._connections.clear()
        for connection in connections:
            connection.drop()


def _was_heard_lately(connection: Droppable) -> bool:
    return (
        isinstance(connection, _ToPrimary) and time.monotonic() - connection.heard_at < _SILENCE_S
    )


def primary_of(address: RedisAddress, tls: dict[str, Any]) -> Primary:
    """Return the one primary that all clients of an address in this process share."""
    place = replace(address, timeout_s=RedisAddress.timeout_s)
    return _primary_of(place, tuple(sorted(tls.items())))


@functools.cache
def _primary_of(address: RedisAddress, tls: tuple[tuple[str, Any], ...]) -> Primary:
    sentinels = address.sentinels
    options = {
        "socket_connect_timeout": address.connect_timeout_s,
        "socket_timeout": address.connect_timeout_s,
        "username": sentinels and sentinels.username,
        "password": sentinels and sentinels.password,
        "ssl": address.tls is not None,
        "retry": Retry(NoBackoff(), 0),
        **dict(tls),
    }
    return Primary(address, dict(tls), options)


class _ToPrimary(redis.Connection):
    """A connection of redis-py to the primary. `counted`: its round trips are, for metrics."""

    def __init__(self, *, primary: Primary, counted: bool = False, **options: Any) -> None:
        self._primary = primary
        #: The time of the last answer, or of the connection's start, by the monotonic clock.
        self.heard_at = time.monotonic()
        self._counted = counted
        self._sent_at = 0.0
        super().__init__(**options)  # type: ignore[no-untyped-call]

    def _connect(self) -> Any:
        self.host, self.port = self._primary.find()
        made = super()._connect()  # type: ignore[no-untyped-call]
        self.heard_at = time.monotonic()
        self._primary.add(self)
        return made

    def send_packed_command(self, *arguments: Any, **options: Any) -> None:
        super().send_packed_command(*arguments, **options)  # type: ignore[no-untyped-call]
        if self._counted:
            self._sent_at = time.perf_counter()

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        try:
            answer = self._read(*arguments, **options)
            self._count_round_trip()
            return answer
        except ResponseError as error:
            self._count_round_trip()
            if not self._primary.is_refused_by(self, error):
                raise
            self.disconnect()  # type: ignore[no-untyped-call]
            raise ConnectionError(f"Redis takes no writes: {error}") from None
        finally:
            self.heard_at = time.monotonic()

    def _read(self, *arguments: Any, **options: Any) -> Any:
        """Read an answer, or notice that the connection is dead. Raises as redis-py does."""
        read, timeout_s = super().read_response, self.socket_timeout or 0.0
        if options or timeout_s <= _SILENCE_S:  # a subscription waits in its own way
            return read(*arguments, **options)
        until = time.monotonic() + timeout_s
        try:
            while True:
                try:
                    return read(*arguments, timeout=_SILENCE_S, disconnect_on_error=False)
                except TimeoutError:
                    self._check_alive(until)
        except ResponseError:
            raise
        except BaseException:  # as in redis-py: an answer that comes later must not be read
            self.disconnect()  # type: ignore[no-untyped-call]
            raise

    def _check_alive(self, until: float) -> None:
        """Raises TimeoutError if the connection is dead, or the time is over.

        A slow Redis, as while it forks, does not answer a new connection either.
        """
        dead = self._primary.answers() and not self.can_read(_LAST_WORD_S)
        if dead:
            self._primary.drop_silent()
        if dead or time.monotonic() >= until:
            raise TimeoutError("Redis did not answer in time on this connection")

    def _count_round_trip(self) -> None:
        """Count at the first answer to what was sent."""
        if self._sent_at:
            ROUND_TRIPS.add(seconds=time.perf_counter() - self._sent_at)
            self._sent_at = 0.0

    def drop(self) -> None:
        """See `Droppable`. The thread that waits for an answer closes the socket itself."""
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)


class ToPrimary(_ToPrimary):
    """Without TLS."""


class ToPrimaryByTls(_ToPrimary, redis.SSLConnection):
    """With TLS."""


class _AsyncToPrimary(redis.asyncio.Connection):
    """A connection of redis-py's asyncio client to the primary."""

    def __init__(self, *, primary: Primary, **options: Any) -> None:
        self.primary = primary
        self._loop: asyncio.AbstractEventLoop | None = None
        super().__init__(**options)

    async def _connect(self) -> None:
        if self.primary.must_be_asked:
            self.host, self.port = await asyncio.to_thread(self.primary.find)
        await super()._connect()  # type: ignore[no-untyped-call]
        self._loop = asyncio.get_running_loop()
        self.primary.add(self)

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*arguments, **options)
        except ResponseError as error:
            if not self.primary.is_refused_by(self, error):
                raise
            await self.disconnect(nowait=True)
            raise ConnectionError(f"Redis takes no writes: {error}") from None

    def drop(self) -> None:
        """See `Droppable`."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._abort)

    def _abort(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


class AsyncToPrimary(_AsyncToPrimary):
    """Without TLS."""


class AsyncToPrimaryByTls(_AsyncToPrimary, redis.asyncio.SSLConnection):
    """With TLS."""
