"""Connections before the first request is complete: heads that stall, and heads that never end."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from api.connection import HEAD_BYTES, HEAD_S
from tests.support.client import Client
from tests.support.live import Live

pytestmark = pytest.mark.integration


def _connected(live: Live) -> socket.socket:
    there = urlsplit(live.api)
    return socket.create_connection((there.hostname, there.port), timeout=3 * HEAD_S)


@pytest.fixture
def connection(live: Live) -> Iterator[socket.socket]:
    with _connected(live) as connection:
        yield connection


def _rest(connection: socket.socket) -> bytes:
    """All bytes until the server closes. Raises TimeoutError where it does not close."""
    received = b""
    try:
        while data := connection.recv(65_536):
            received += data
    except ConnectionResetError:
        pass
    return received


def test_a_request_head_that_stalls_is_cut_off(live: Live) -> None:
    """Also one that follows an answer, and where nothing is sent. All of them wait together."""
    begun = b"GET /healthz HTTP/1.1\r\nHost: here\r\n"
    with ExitStack() as stack:
        silent, slow, second = (stack.enter_context(_connected(live)) for _ in range(3))
        slow.sendall(begun + b"X-Slow: ")
        second.sendall(begun + b"\r\n")
        assert second.recv(65_536).startswith(b"HTTP/1.1 200")
        second.sendall(b"GET /heal")
        assert [_rest(silent), _rest(slow)] == [b"", b""]
        assert b"HTTP/1.1" not in _rest(second)


def test_a_request_head_that_never_ends_is_cut_off(connection: socket.socket) -> None:
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: here\r\nX-Long: ")
    with pytest.raises((BrokenPipeError, ConnectionResetError)):  # noqa: PT012  # any of the calls may fail first
        for _ in range(1000):
            connection.sendall(b"a" * HEAD_BYTES)


def test_pipelined_requests_are_answered_in_order(connection: socket.socket) -> None:
    connection.sendall(
        b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n" * 2 + b"GET /nothing HTTP/1.0\r\n\r\n"
    )
    answers = _rest(connection)
    assert [answers.count(b"HTTP/1.1 " + status) for status in (b"200", b"404")] == [2, 1]


def test_a_client_of_http_1_0_gets_a_stream_without_chunks(
    live: Live, connection: socket.socket, sample: bytes
) -> None:
    with Client(live.api) as client:
        prediction_id = client.wait(client.submit(sample)["id"])["id"]
    path = f"/v1/predictions/{prediction_id}/stream?events=output,done"
    connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    head, _, body = _rest(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower()
    assert body.startswith(b"event: output\n")
    assert body.endswith(b"\n\n")


def test_a_client_of_http_1_0_gets_an_answer_of_known_length(connection: socket.socket) -> None:
    connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
    head, _, body = _rest(connection).partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head.lower()
    assert json.loads(body) == {"status": "ok"}


def test_head_has_a_head_and_no_body(connection: socket.socket) -> None:
    connection.sendall(b"HEAD /v1/models/codes HTTP/1.1\r\nHost: here\r\n\r\n" * 2)
    connection.sendall(b"HEAD /nothing HTTP/1.0\r\n\r\n")
    answers = _rest(connection)
    assert [answers.count(b"HTTP/1.1 " + status) for status in (b"200", b"404")] == [2, 1]
    assert b"{" not in answers


def test_a_body_arrives_beside_an_offer_of_http_2(connection: socket.socket, sample: bytes) -> None:
    """Java's client sends these headers with its first request; the second follows at once."""
    offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEA\r\n"
    head = f"POST /v1/predictions HTTP/1.1\r\nHost: here\r\nContent-Length: {len(sample)}\r\n"
    for close in ("", "Connection: close\r\n"):
        connection.sendall(f"{head}{offer}{close}\r\n".encode() + sample)
        if not close:
            assert connection.recv(65_536).startswith(b"HTTP/1.1 202")
    assert _rest(connection).count(b"HTTP/1.1 202") == 1
