"""A batch as a ZIP. Nothing is unpacked to disk, and no name in the ZIP is used as a path."""

import re
import struct
import zipfile
import zlib
from functools import partial
from typing import IO

from api.requests.items import NAME_CHARS, Item
from api.requests.receive import too_large
from sluice.errors import ImageTooLarge, InvalidInput
from sluice.settings import LimitsSettings

_MIN_READ_BYTES = 65_536
_DIRECTORY_BYTES_PER_IMAGE = 1024
_HIDDEN = re.compile(r"(^|/)(\.(?!\.?(/|$))|__MACOSX(/|$))")
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)


def read_archive(file: IO[bytes], limits: LimitsSettings) -> list[Item]:
    """The images in a ZIP, in the order of its directory. Raises InvalidInput."""
    # zipfile reads the directory in one call, whose size the ZIP itself declares.
    bounded = _BoundedFile(
        file, max(_MIN_READ_BYTES, limits.batch_items * _DIRECTORY_BYTES_PER_IMAGE)
    )
    try:
        archive = zipfile.ZipFile(bounded)
    except _DAMAGED:
        raise InvalidInput("the body can't be read as a ZIP") from None
    bounded.max_bytes = max(_MIN_READ_BYTES, limits.max_bytes)
    items, size = [], 0
    for info in archive.infolist():
        if info.is_dir() or _HIDDEN.search(info.filename):
            continue
        # A declared size that is too small does no harm: no more than that size is inflated.
        size += info.file_size if info.file_size <= limits.max_bytes else 0
        fits = size <= limits.batch_max_bytes
        read = partial(_read_entry, archive, info, limits, fits=fits)
        items.append(Item(info.filename[:NAME_CHARS], read))
    return items


class _BoundedFile:
    """A ZIP's file that refuses to read more than `max_bytes` in one call."""

    def __init__(self, file: IO[bytes], max_bytes: int) -> None:
        self._file = file
        self.max_bytes = max_bytes
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > self.max_bytes:
            raise InvalidInput("the ZIP's directory is too large; send fewer entries")
        return self._file.read(size)


def _read_entry(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, limits: LimitsSettings, *, fits: bool
) -> bytes:
    if info.flag_bits & 0x1:
        raise InvalidInput("the entry is encrypted; send it without a password")
    # The decoders of other methods can't be bounded.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidInput(
            "the entry's compression method is not supported; use Deflate, or store it uncompressed"
        )
    if info.file_size > limits.max_bytes:
        raise too_large(limits.max_bytes)
    if not fits:
        raise ImageTooLarge(
            f"the ZIP's images have more than {limits.batch_max_bytes:,} bytes unpacked;"
            " send this image in another batch"
        )
    try:
        with archive.open(info) as entry:
            return entry.read(info.file_size)  # without a size, zipfile inflates all before it cuts
    except _DAMAGED:
        raise InvalidInput("the entry is damaged; pack it again") from None
