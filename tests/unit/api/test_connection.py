"""Listening on both families of addresses."""

import socket

import pytest

from api.connection import listen


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
