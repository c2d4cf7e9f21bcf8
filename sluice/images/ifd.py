"""Image file directories: the structure of TIFF files, and of EXIF in all formats.

The format is that of TIFF 6.0, part 1, and of BigTIFF.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

ORIENTATION = 0x0112

# Type number: struct's letter. TIFF 6.0, section 2; 13 is an offset, 16 to 18 are BigTIFF's.
_LETTERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}
_MOST_PAGES = 100
_MOST_ENTRIES = 2000  # of a directory; writers use up to about a hundred


class CutShort(Exception):
    """The bytes end before the directory does, or before a value of it."""


@dataclass(frozen=True)
class Entry:
    """One field of a directory."""

    type: int
    count: int
    at: int
    """The entry's place in the file."""
    value_at: int
    """The place of its values in the file."""


@dataclass(frozen=True)
class Directory:
    """One directory: a page of a TIFF, or EXIF's first."""

    data: bytes
    order: str
    """struct's sign of the byte order: `<` or `>`."""
    at: int
    """The directory's place in the file."""
    entries: Mapping[int, Entry]

    def integers(self, tag: int) -> tuple[int, ...] | None:
        """The values of a field of whole numbers, of any width; None where there are none.

        Raises CutShort where the bytes end before the values do.
        """
        entry = self.entries.get(tag)
        if entry is None or entry.type not in _LETTERS or entry.count == 0:
            return None
        letter = _LETTERS[entry.type]
        if entry.value_at + entry.count * _SIZES[entry.type] > len(self.data):
            raise CutShort
        return struct.unpack_from(f"{self.order}{entry.count}{letter}", self.data, entry.value_at)

    def count(self, tag: int) -> int:
        """The number of a field's values, 0 where it is absent."""
        return self.entries[tag].count if tag in self.entries else 0

    def integer(self, tag: int, default: int) -> int:
        """The first value of a field, or `default`. Raises CutShort."""
        values = self.integers(tag)
        return values[0] if values else default


def directories(data: bytes) -> Iterator[Directory]:
    """Yield the directories of a TIFF in the order of its chain.

    Raises ValueError where the bytes are no TIFF, and CutShort where they end too early.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise ValueError("no byte order")
    if len(data) < 8:
        raise CutShort
    big = data[2:4] in (b"\x2b\x00", b"\x00\x2b")
    at = _unpack(data, order + ("Q" if big else "I"), 8 if big else 4)
    seen: set[int] = set()
    while at and at not in seen and len(seen) < _MOST_PAGES:
        seen.add(at)
        directory, at = _directory(data, order, at, big)
        yield directory


def orientation(exif: bytes) -> int:
    """Return the orientation that EXIF data gives, 1 to 8; 1 where they give none.

    The data may begin with JPEG's six bytes. The number may be of any integer type.
    """
    try:
        directory = next(directories(exif.removeprefix(b"Exif\0\0")), None)
        number = directory.integer(ORIENTATION, 1) if directory else 1
    except (ValueError, CutShort):
        return 1
    return number if 1 <= number <= 8 else 1


def _directory(data: bytes, order: str, at: int, big: bool) -> tuple[Directory, int]:
    """Read the directory at `at`. Return it with the place of the next one, 0 for none."""
    count = _unpack(data, order + ("Q" if big else "H"), at)
    first, size, inline = at + (8 if big else 2), (20 if big else 12), (8 if big else 4)
    entries: dict[int, Entry] = {}
    end = first + count * size
    for place in range(first, min(end, len(data) - size + 1), size)[:_MOST_ENTRIES]:
        tag, kind = struct.unpack_from(order + "HH", data, place)
        number = _unpack(data, order + ("Q" if big else "I"), place + 4)
        value_at = place + size - inline
        if number * _SIZES.get(kind, 1) > inline:
            value_at = _unpack(data, order + ("Q" if big else "I"), value_at)
        entries[tag] = Entry(kind, number, place, value_at)
    if end > len(data):
        # EXIF that ends within its first directory is still used for what is there.
        if not entries:
            raise CutShort
        return Directory(data, order, at, entries), 0
    following = (
        _unpack(data, order + ("Q" if big else "I"), end) if end + inline <= len(data) else 0
    )
    return Directory(data, order, at, entries), following


def _unpack(data: bytes, form: str, at: int) -> int:
    if at + struct.calcsize(form) > len(data):
        raise CutShort
    return int(struct.unpack_from(form, data, at)[0])
