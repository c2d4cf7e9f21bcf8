"""Ports for the embedded stack: the default ports, or free ones where those are taken."""

import random
import socket
from collections.abc import Mapping

from sluice.errors import LocalStackError

DEFAULTS = {
    "api": 8080,
    "redis": 6379,
    "triton_http": 8000,
    "triton_grpc": 8001,
    "metrics": 8002,
    "ui": 7860,
}


def choose(wanted: Mapping[str, int | None], host: str = "127.0.0.1") -> dict[str, int]:
    """Choose a free port for each name in `wanted`; the names are those of DEFAULTS.

    None: the default port, or any free port when the default is taken. 0: any free port. Another
    number: that port.

    Raises LocalStackError when a port that `wanted` gives by its number is taken.
    """
    # Each port stays bound until all are chosen. No port is chosen twice.
    sockets: dict[str, socket.socket] = {}
    try:
        for name, port in wanted.items():
            bound = None if port == 0 else _bind(host, DEFAULTS[name] if port is None else port)
            if bound is None and port:
                raise LocalStackError(
                    f"port {port} for {name} is taken on {host}; stop the program that listens"
                    " there, or choose another port"
                )
            sockets[name] = bound or _bind_any(host)
        return {name: int(sockets[name].getsockname()[1]) for name in wanted}
    finally:
        for sock in sockets.values():
            sock.close()


def _bind(host: str, port: int) -> socket.socket | None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Servers set this option too. A connection closed a minute ago does not take the port.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        # With SO_REUSEADDR, `bind` succeeds on a port that is bound already; `listen` fails there.
        sock.listen(1)
    except OSError:
        sock.close()
        return None
    return sock


def _bind_any(host: str) -> socket.socket:
    """Bind a random port below 32768.

    Linux takes ports from 32768 on for outgoing connections. A part that is restarted must find
    its port still free. Random, because another stack may be choosing ports at the same moment.
    """
    for _ in range(1000):
        if sock := _bind(host, random.randrange(20_000, 32_000)):
            return sock
    raise LocalStackError(f"no port is free on {host}")
