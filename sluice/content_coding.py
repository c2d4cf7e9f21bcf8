"""Content codings (RFC 9110, section 8.4.1): compressed bodies, unpacked within bounds."""

import zlib
from collections.abc import Iterator

#: The codings that `Unpacker` reads, as `Accept-Encoding` has them.
ACCEPTED = "gzip, deflate"

_GZIP = frozenset({"gzip", "x-gzip"})
_READ = _GZIP | {"deflate"}
_COMPRESSIONS = _READ | {
    *("compress", "x-compress", "br", "zstd", "dcb", "dcz", "exi", "pack200-gzip"),
}
_PIECE_BYTES = 1_000_000
_MAX_MEMBERS = 1000  # of gzip: a small body may hold a million empty ones


def compressions(header: str) -> list[str]:
    """The codings in `Content-Encoding` that compress, in lower case.

    Other names, such as identity, aws-chunked, UTF-8 or none, change no byte of the content: stores
    send what a client once set on an object, and browsers take no notice of it.
    """
    names = (name.strip().lower() for name in header.split(","))
    return [name for name in names if name in _COMPRESSIONS]


class Unpacker:
    """Unpacks one body of gzip or deflate, in pieces of at most a megabyte."""

    def __init__(self, coding: str) -> None:
        """Raises ValueError for a coding that is not read."""
        if coding not in _READ:
            raise ValueError(f"the coding {coding!r} is not read here")
        self._is_gzip = coding in _GZIP
        self._stream: zlib._Decompress | None = None
        self._members = 0
        self._start = b""  # of a deflate body: its first two bytes tell its form

    def write(self, data: bytes) -> Iterator[bytes]:
        """The pieces that `data` unpacks to. Raises ValueError with the reason."""
        if not self._stream:
            data = self._start = self._start + data
            if len(data) < 2:
                return
            self._open()
        while self._stream:
            if self._stream.eof:
                # gzip may have several members, and zeros behind them.
                data = data.lstrip(b"\0") if self._is_gzip else b""
                if not data:
                    return
                self._open()
            try:
                piece = self._stream.decompress(data, _PIECE_BYTES)
            except zlib.error:
                raise ValueError("its compressed data is damaged") from None
            if piece:
                yield piece
            eof = self._stream.eof
            data = self._stream.unused_data if eof else self._stream.unconsumed_tail
            if not data and len(piece) < _PIECE_BYTES:
                return

    def close(self) -> None:
        """Raises ValueError where the body ended too early."""
        if not (self._stream and self._stream.eof):
            raise ValueError("its compressed data ends too early")

    def _open(self) -> None:
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise ValueError("it has too many compressed parts")
        if self._is_gzip:
            window_bits = 31
        else:  # RFC 9110 wants zlib's form; many clients send deflate without it
            has_zlib_head = self._start[0] & 15 == 8 and int.from_bytes(self._start[:2]) % 31 == 0
            window_bits = 15 if has_zlib_head else -15
        self._stream = zlib.decompressobj(window_bits)
