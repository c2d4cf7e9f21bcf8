"""The shared connection, against a real Redis: order, errors, breaks, and one that hangs."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
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
from tests.support.servers import free_port

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def pipe(redis_url: str, redis_client: "redis.Redis") -> AsyncIterator[MultiplexedConnection]:
    made = MultiplexedConnection(redis_url, connect_timeout_s=5.0, timeout_s=10.0)
    yield made
    made.close()


async def test_answers_come_to_whom_they_belong(pipe: MultiplexedConnection) -> None:
    async def one(number: int) -> None:
        size = 1 + number * 997 % 200_000  # from less than a packet to many
        stored, got, deleted = await pipe.send(
            ("SET", f"k{number}", bytes([number]) * size),
            ("GET", f"k{number}"),
            ("DEL", f"k{number}"),
        )
        assert (stored, got, deleted) == (b"OK", bytes([number]) * size, 1)

    await asyncio.gather(*map(one, range(200)))


async def test_an_error_is_an_answer_like_any_other(pipe: MultiplexedConnection) -> None:
    await pipe.send(("SET", "text", "a"))
    first, second, third = await pipe.send(
        ("INCR", "text"), ("EVALSHA", "0" * 40, 0), ("GET", "text")
    )
    assert isinstance(first, ResponseError)
    assert isinstance(second, NoScriptError)
    assert third == b"a"


async def test_one_that_is_no_longer_waited_for_leaves_the_others_their_answers(
    pipe: MultiplexedConnection,
) -> None:
    await pipe.send(("SET", "a", "1"))
    impatient = asyncio.create_task(pipe.send(("GET", "a")))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await pipe.send(("INCR", "a")) == [2]
    with pytest.raises(asyncio.CancelledError):
        await impatient


async def test_after_a_break_it_connects_anew(
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


async def test_many_who_find_no_connection_make_one(pipe: MultiplexedConnection) -> None:
    found = await asyncio.gather(*(pipe.send(("CLIENT", "ID")) for _ in range(20)))
    assert len({one for (one,) in found}) == 1


async def test_one_that_takes_connections_and_says_nothing_is_waited_for_once() -> None:
    came: list[asyncio.StreamWriter] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(writer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    pipe = MultiplexedConnection(
        f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0",
        connect_timeout_s=5.0,
        timeout_s=0.5,
    )
    said = await asyncio.gather(*(pipe.send(("PING",)) for _ in range(50)), return_exceptions=True)
    assert {type(one) for one in said} <= {TimeoutError, ConnectionError}
    assert len(came) == 1
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0.1)  # for `silent` to see the end


async def test_nobody_there(redis_url: str) -> None:
    with pytest.raises(ConnectionError):
        await MultiplexedConnection(
            f"redis://127.0.0.1:{free_port()}/0", connect_timeout_s=1.0, timeout_s=1.0
        ).send(("PING",))
    with pytest.raises((AuthenticationError, ResponseError)):
        await MultiplexedConnection(
            redis_url.replace("://", "://nobody:wrong@"), connect_timeout_s=5.0, timeout_s=5.0
        ).send(("PING",))


async def test_a_redis_that_hangs_is_waited_for_no_longer_than_was_said(
    redis_url: str, redis_client: "redis.Redis"
) -> None:
    pipe = MultiplexedConnection(redis_url, connect_timeout_s=5.0, timeout_s=0.5)
    pid = redis_client.info("server")["process_id"]
    await pipe.send(("SET", "a", "1"))
    os.kill(pid, signal.SIGSTOP)
    try:
        said = await asyncio.gather(
            *(pipe.send(("GET", "a")) for _ in range(50)), return_exceptions=True
        )
    finally:
        os.kill(pid, signal.SIGCONT)
    assert {type(one) for one in said} == {TimeoutError}
    for _ in range(20):  # it may hang on for a moment
        answer: Any = (await asyncio.gather(pipe.send(("GET", "a")), return_exceptions=True))[0]
        if answer == [b"1"]:
            break
        assert isinstance(answer, TimeoutError | ConnectionError)
    assert answer == [b"1"], "an answer of before the break is nobody's now"
    pipe.close()


async def test_one_late_answer_costs_only_whoever_waits_for_it(
    redis_url: str, redis_client: "redis.Redis"
) -> None:
    """As long as answers come at all, the connection is kept: what is behind in the line has waited for less."""

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while asked := await reader.read(1000):
            if b"GET" in asked:
                writer.write(b"$1\r\n")  # a part of the answer comes, and the rest of it too late
                await asyncio.sleep(0.3)
                writer.write(b"a")
                await asyncio.sleep(0.3)
                writer.write(b"\r\n")
            else:
                writer.write(b"+OK\r\n" * asked.count(b"*"))
        writer.close()

    server = await asyncio.start_server(slow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pipe = MultiplexedConnection(
        f"redis://127.0.0.1:{port}/0", connect_timeout_s=5.0, timeout_s=0.5
    )
    with pytest.raises(TimeoutError):
        await pipe.send(("GET", "a"))
    assert await pipe.send(("PING",)) == [b"OK"]
    pipe.close()
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0.1)  # for `slow` to see the end


async def test_an_answer_to_nothing_ends_the_connection() -> None:
    def serve(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer:
            while asked := peer.recv(1000):
                peer.sendall(b"+OK\r\n" * (asked.count(b"*") + (b"PING" in asked)))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(asyncio.to_thread(serve, listener))
        pipe = MultiplexedConnection(
            f"redis://127.0.0.1:{listener.getsockname()[1]}/0", connect_timeout_s=5.0, timeout_s=5.0
        )
        assert await pipe.send(("PING",)) == [b"OK"]
        await serving
    with pytest.raises(
        ConnectionError
    ):  # the old connection is not used again, and for a new one nobody is there
        await pipe.send(("PING",))
