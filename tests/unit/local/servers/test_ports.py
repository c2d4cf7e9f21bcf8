"""The choice of ports for the embedded stack."""

import socket

import pytest

from sluice.errors import LocalStackError
from sluice.local.servers import ports


@pytest.fixture
def taken():
    """A port that a socket listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_none_chooses_the_default_port_when_it_is_free(monkeypatch, taken):
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    monkeypatch.setitem(ports.DEFAULTS, "api", free)
    assert ports.choose({"api": None}) == {"api": free}


def test_none_chooses_a_free_port_when_the_default_is_taken(monkeypatch, taken):
    monkeypatch.setitem(ports.DEFAULTS, "api", taken)
    chosen = ports.choose({"api": None})["api"]
    assert chosen != taken
    with socket.create_server(("127.0.0.1", chosen)):
        pass  # the chosen port is free


def test_no_port_is_chosen_twice(monkeypatch, taken):
    for name in ports.DEFAULTS:
        monkeypatch.setitem(ports.DEFAULTS, name, taken)
    chosen = ports.choose(dict.fromkeys(ports.DEFAULTS))
    assert len(set(chosen.values())) == len(ports.DEFAULTS)


def test_a_given_port_that_is_taken_is_refused(taken):
    with pytest.raises(LocalStackError, match=f"port {taken} for api is taken"):
        ports.choose({"api": taken})


def test_zero_chooses_any_free_port():
    assert ports.choose({"api": 0})["api"] > 0
