"""Requests as bytes, and answers with every byte of their bodies."""

import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Answer:
    """An answer, as it came."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    """Without the lengths of chunks."""

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None


def exchange(api: str, request: bytes) -> Answer:
    """Send `request` to the api at the URL `api`, and read until the connection ends."""
    there = urlsplit(api)
    with socket.create_connection((there.hostname, there.port), timeout=_TIMEOUT_S) as connection:
        connection.sendall(request)
        received = bytearray()
        while data := connection.recv(65_536):
            received += data
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    pairs = [entry.partition(":") for entry in lines]
    answer = Answer(int(line.split()[1]), [(name, value.strip()) for name, _, value in pairs], body)
    if answer.header("Transfer-Encoding") == "chunked" and not request.startswith(b"HEAD"):
        return Answer(answer.status, answer.headers, _joined(body))
    return answer


def build(
    method: str, path: str, headers: dict[str, str | None], body: bytes | None, host: str
) -> bytes:
    """A request of HTTP/1.1, after which the server closes the connection.

    A header with the value None is left out.
    """
    length = {} if body is None else {"Content-Length": str(len(body))}
    lines = {"Host": host, "Connection": "close", **length, **headers}
    head = "".join(f"{name}: {text}\r\n" for name, text in lines.items() if text is not None)
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + (body or b"")


def _joined(body: bytes) -> bytes:
    """The data of a chunked body (RFC 9112, section 7.1)."""
    data = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        data, body = data + body[:length], body[length + 2 :]
    return data
