"""Compressed bodies are unpacked in bounded pieces; names that compress nothing are left out."""

import gzip
import zlib
from collections.abc import Callable

import pytest

from sluice.content_coding import Unpacker, compressions

DATA = bytes(range(256)) * 20_000


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def unpack(coding: str, packed: bytes, step: int) -> bytes:
    unpacker = Unpacker(coding)
    pieces = []
    for at in range(0, len(packed), step):
        pieces += unpacker.write(packed[at : at + step])
    unpacker.close()
    assert all(len(piece) <= 1_000_000 for piece in pieces)
    return b"".join(pieces)


@pytest.mark.parametrize("step", [1, 1000, 10_000_000])
@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("gzip", lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:]) + bytes(9)),
    ],
)
def test_a_body_is_unpacked_in_every_form(
    coding: str, pack: Callable[[bytes], bytes], step: int
) -> None:
    assert unpack(coding, pack(DATA), step) == DATA


@pytest.mark.parametrize("size", [999_999, 1_000_000, 1_000_001, 2_000_000])
def test_no_byte_is_left_behind_at_the_end_of_a_piece(size: int) -> None:
    assert unpack("gzip", gzip.compress(bytes(size)), 10_000) == bytes(size)


def test_a_bomb_comes_in_pieces() -> None:
    pieces = Unpacker("gzip").write(gzip.compress(bytes(300_000_000), 9))
    assert len(next(pieces)) == 1_000_000


@pytest.mark.parametrize(
    ("coding", "packed", "words"),
    [
        ("gzip", b"", "ends too early"),
        ("deflate", b"x", "ends too early"),
        ("gzip", gzip.compress(DATA, mtime=0)[:-1], "ends too early"),
        ("gzip", b"\xff\xd8\xff", "damaged"),
        ("gzip", gzip.compress(DATA, mtime=0)[:-8] + bytes(8), "damaged"),
        ("gzip", gzip.compress(b"", mtime=0) + b"more", "damaged"),
        ("deflate", b"\xff\xd8\xff", "damaged"),
        ("gzip", gzip.compress(b"", mtime=0) * 1001, "too many"),
    ],
)
def test_damage_is_told(coding: str, packed: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        unpack(coding, packed, 100_000)


def test_a_coding_that_is_not_read_is_refused() -> None:
    with pytest.raises(ValueError, match="'br'"):
        Unpacker("br")


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("", []),
        ("identity, identity", []),
        ("IDENTITY", []),
        ("aws-chunked", []),
        ("UTF-8", []),
        ("none", []),
        ("aws-chunked,GZIP ", ["gzip"]),
        ("gzip, br", ["gzip", "br"]),
    ],
)
def test_only_names_that_compress_count(header: str, names: list[str]) -> None:
    assert compressions(header) == names
