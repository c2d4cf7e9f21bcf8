"""Listening on both families of addresses, and offers of other protocols."""

import socket

import pytest

from api.connection import listen, without_upgrade


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_the_address_of_all_of_ipv6_takes_ipv4_too() -> None:
    listening = listen("::", 0)
    assert listening is not None
    (server,) = listening
    with server:
        port = server.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, port), timeout=10):
                accepted, address = server.accept()
                accepted.close()
                assert address[0].endswith(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "localhost"])
def test_other_addresses_are_left_to_uvicorn(host: str) -> None:
    assert listen(host, 0) is None


@pytest.mark.parametrize(
    ("data", "left"),
    [
        (b"GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n", b"GET / HTTP/1.1\r\nignored: h2c\r\n\r\n"),
        (b"Host: a\r\nUPGRADE : h2c\r\nB:", b"Host: a\r\nignored : h2c\r\nB:"),
        (b"GET / HTTP/1.1\r\n\r\n\nUpgrade: body", b"GET / HTTP/1.1\r\n\r\n\nUpgrade: body"),
        (b"Upgrades: 1\r\nX-Upgrade: 2", b"Upgrades: 1\r\nX-Upgrade: 2"),
        (b"\xff" * 100, b"\xff" * 100),
    ],
)
def test_an_offer_of_another_protocol_is_ignored(data: bytes, left: bytes) -> None:
    assert without_upgrade(data) == left
