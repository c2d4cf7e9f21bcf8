"""Ports for the embedded stack: the usual one where it is free, another where it is not."""

import random
import socket
from collections.abc import Mapping

from sluice.errors import LocalStackError

DEFAULTS = {"api": 8080, "redis": 6379, "triton_http": 8000, "triton_grpc": 8001, "metrics": 8002}


def choose(wanted: Mapping[str, int | None], host: str = "127.0.0.1") -> dict[str, int]:
    """A free port for each name of DEFAULTS that `wanted` holds.

    None asks for the default, or any free port where the default is taken; 0 for any free port; a number for that one.
    Raises LocalStackError when a port that was asked for by its number is taken.
    """
    held: dict[str, socket.socket] = {}  # until all are chosen, so that none is chosen twice
    try:
        for name, port in wanted.items():
            found = None if port == 0 else _bind(host, DEFAULTS[name] if port is None else port)
            if found is None and port:
                raise LocalStackError(
                    f"port {port} for {name} is taken on {host}; stop what listens there, or ask for another"
                )
            held[name] = found or _any(host)
        return {name: int(held[name].getsockname()[1]) for name in wanted}
    finally:
        for sock in held.values():
            sock.close()


def _bind(host: str, port: int) -> socket.socket | None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # As servers do: a connection that was closed a minute ago does not make the port taken.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(
            1
        )  # with SO_REUSEADDR it is this, not bind, that fails on a port somebody else has just bound
    except OSError:
        sock.close()
        return None
    return sock


def _any(host: str) -> socket.socket:
    """Below the ports that Linux gives to outgoing connections (from 32768), as a part that is down must find its own free again.

    At random, since a port is only bound seconds later, and another stack may be choosing now.
    """
    for _ in range(1000):
        if sock := _bind(host, random.randrange(20_000, 32_000)):
            return sock
    raise LocalStackError(f"no port is free on {host}")
