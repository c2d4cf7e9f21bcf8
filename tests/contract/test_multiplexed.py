"""The multiplexed connection on a real Redis: order, errors, breaks and a Redis that hangs."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import redis
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    NoScriptError,
    ResponseError,
    TimeoutError,
)

from sluice.redisio.multiplexed import MultiplexedConnection
from sluice.settings import RedisAddress
from tests.support.servers import free_port

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def serving(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """Serve by `answer` on the port that is given. The kernel keeps few bytes for each reader."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    listener.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(answer, sock=listener)
    yield listener.getsockname()[1]
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0.1)  # for `answer` to see the end


@pytest.fixture
async def pipe(redis_url: str, redis_client: "redis.Redis") -> AsyncIterator[MultiplexedConnection]:
    made = MultiplexedConnection(RedisAddress.parse(redis_url))
    yield made
    made.close()


async def test_concurrent_callers_get_their_own_answers(pipe: MultiplexedConnection) -> None:
    async def one(number: int) -> None:
        size = 1 + number * 997 % 200_000  # from a part of a packet to many packets
        stored, got, deleted = await pipe.send(
            ("SET", f"k{number}", bytes([number]) * size),
            ("GET", f"k{number}"),
            ("DEL", f"k{number}"),
        )
        assert (stored, got, deleted) == (b"OK", bytes([number]) * size, 1)

    await asyncio.gather(*map(one, range(200)))


async def test_an_error_answer_reaches_its_caller_and_no_other(pipe: MultiplexedConnection) -> None:
    await pipe.send(("SET", "text", "a"))
    first, second, third = await pipe.send(
        ("INCR", "text"), ("EVALSHA", "0" * 40, 0), ("GET", "text")
    )
    assert isinstance(first, ResponseError)
    assert isinstance(second, NoScriptError)
    assert third == b"a"


async def test_a_canceled_caller_leaves_the_others_their_answers(
    pipe: MultiplexedConnection,
) -> None:
    await pipe.send(("SET", "a", "1"))
    impatient = asyncio.create_task(pipe.send(("GET", "a")))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await pipe.send(("INCR", "a")) == [2]
    with pytest.raises(asyncio.CancelledError):
        await impatient


async def test_a_broken_connection_fails_its_callers_and_the_next_call_connects_again(
    pipe: MultiplexedConnection, redis_client: "redis.Redis"
) -> None:
    (own,) = await pipe.send(("CLIENT", "ID"))
    waiting = asyncio.create_task(pipe.send(("BLPOP", "nothing", 0)))
    while not redis_client.info("clients")["blocked_clients"]:
        await asyncio.sleep(0.01)
    redis_client.client_kill_filter(_id=own)
    with pytest.raises(ConnectionError):
        await waiting
    (other,) = await pipe.send(("CLIENT", "ID"))
    assert other != own


async def test_many_callers_without_a_connection_make_one(pipe: MultiplexedConnection) -> None:
    answers = await asyncio.gather(*(pipe.send(("CLIENT", "ID")) for _ in range(20)))
    assert len({connection_id for (connection_id,) in answers}) == 1


async def test_many_callers_of_a_silent_server_share_one_connection_and_one_time_out() -> None:
    accepted: list[asyncio.StreamWriter] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)
        await reader.read()
        writer.close()

    async with serving(silent) as port:
        pipe = MultiplexedConnection(RedisAddress(port=port, timeout_s=0.5))
        answers = await asyncio.gather(
            *(pipe.send(("PING",)) for _ in range(50)), return_exceptions=True
        )
        assert {type(answer) for answer in answers} <= {TimeoutError, ConnectionError}
        assert len(accepted) == 1


async def test_a_refused_connection_or_login_raises(redis_url: str) -> None:
    with pytest.raises(ConnectionError):
        await MultiplexedConnection(RedisAddress(port=free_port())).send(("PING",))
    address = RedisAddress.parse(redis_url.replace("://", "://nobody:wrong@"))
    with pytest.raises((AuthenticationError, ResponseError)):
        await MultiplexedConnection(address).send(("PING",))


async def test_callers_of_a_hanging_redis_get_a_time_out_and_no_late_answer(
    redis_url: str, redis_client: "redis.Redis"
) -> None:
    pipe = MultiplexedConnection(replace(RedisAddress.parse(redis_url), timeout_s=0.5))
    pid = redis_client.info("server")["process_id"]
    await pipe.send(("SET", "a", "1"))
    os.kill(pid, signal.SIGSTOP)
    try:
        answers = await asyncio.gather(
            *(pipe.send(("GET", "a")) for _ in range(50)), return_exceptions=True
        )
    finally:
        os.kill(pid, signal.SIGCONT)
    assert {type(error) for error in answers} == {TimeoutError}
    for _ in range(20):  # Redis may need a moment
        answer: Any = (await asyncio.gather(pipe.send(("GET", "a")), return_exceptions=True))[0]
        if answer == [b"1"]:
            break
        assert isinstance(answer, TimeoutError | ConnectionError)
    assert answer == [b"1"], "no caller gets an answer from before the break"
    pipe.close()


async def test_new_callers_are_no_sign_of_a_hanging_redis(
    redis_url: str, redis_client: "redis.Redis"
) -> None:
    """The kernel takes their commands, though Redis reads nothing."""
    pipe = MultiplexedConnection(replace(RedisAddress.parse(redis_url), timeout_s=0.5))
    pid = redis_client.info("server")["process_id"]
    await pipe.send(("SET", "a", "1"))
    os.kill(pid, signal.SIGSTOP)
    try:
        calls = []
        for _ in range(100):  # four time-outs long, and less than a caller's own limit
            calls.append(asyncio.create_task(pipe.send(("GET", "a"))))
            await asyncio.sleep(0.02)
        assert calls[0].done()
        answers = await asyncio.gather(*calls, return_exceptions=True)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert isinstance(answers[0], TimeoutError)
    pipe.close()


async def test_a_late_answer_times_out_its_own_caller_only() -> None:
    """The connection is kept while answers come: later callers have waited for less."""

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(1000):
            if b"GET" in request:
                writer.write(b"$60\r\n")  # the answer comes a byte at a time
                for _ in range(60):
                    await asyncio.sleep(0.05)
                    writer.write(b"a")
                writer.write(b"\r\n")
            else:
                writer.write(b"+OK\r\n" * request.count(b"*"))
        writer.close()

    async with serving(slow) as port:
        pipe = MultiplexedConnection(RedisAddress(port=port, timeout_s=0.2))
        with pytest.raises(TimeoutError):
            await pipe.send(("GET", "a"))
        assert await pipe.send(("PING",)) == [b"OK"]
        pipe.close()


async def test_a_large_command_over_a_slow_network_is_no_hang() -> None:
    """The server reads for twice the time-out, and answers at the end."""

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while b"large" not in (request := await reader.read(1000)):
            writer.write(b"+OK\r\n" * request.count(b"*"))
        while not (await reader.read(65_536)).endswith(b"\r\n"):
            await asyncio.sleep(0.005)
        writer.write(b"+OK\r\n")
        await reader.read()
        writer.close()

    # Bytes in the kernel count as sent: here a tenth of the command.
    async with serving(slow) as port:
        pipe = MultiplexedConnection(RedisAddress(port=port, timeout_s=1.5))
        assert await pipe.send(("SET", "large", bytes(40_000_000))) == [b"OK"]
        pipe.close()


async def test_the_time_of_a_busy_event_loop_is_not_the_servers(redis_url: str) -> None:
    """A burst's bodies hold the loop up for seconds, while a large command is half written."""
    pipe = MultiplexedConnection(replace(RedisAddress.parse(redis_url), timeout_s=0.5))
    await pipe.send(("PING",))
    writing = asyncio.create_task(pipe.send(("SET", "large", bytes(50_000_000))))
    for _ in range(15):
        await asyncio.sleep(0)
        time.sleep(0.1)  # the loop is held up on purpose
    assert await writing == [b"OK"]
    pipe.close()


async def test_an_unexpected_answer_ends_the_connection() -> None:
    def serve(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer:
            while request := peer.recv(1000):
                peer.sendall(b"+OK\r\n" * (request.count(b"*") + (b"PING" in request)))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(asyncio.to_thread(serve, listener))
        pipe = MultiplexedConnection(RedisAddress(port=listener.getsockname()[1], timeout_s=5.0))
        assert await pipe.send(("PING",)) == [b"OK"]
        await serving
    # The old connection is not used again, and no server accepts a new one.
    with pytest.raises(ConnectionError):
        await pipe.send(("PING",))
