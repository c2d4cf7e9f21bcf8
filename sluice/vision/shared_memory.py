"""System shared memory: arrays that two processes of one host read and write."""

import math
import mmap
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_DIRECTORY = Path("/dev/shm")  # noqa: S108  # where shm_open(3) keeps regions
_ALIGNMENT = 64  # bytes: a cache line, and enough for any vector instruction


@dataclass(frozen=True)
class Place:
    """The place of an array in a region."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    """In bytes."""

    @property
    def size(self) -> int:
        """In bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class RegionLayout:
    """The places of named arrays, one after another, each on a boundary of 64 bytes."""

    def __init__(self, arrays: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> None:
        """`arrays` has the shape and the dtype of each array, by its name."""
        self.places: dict[str, Place] = {}
        #: Of the whole region, in bytes.
        self.size = 0
        for name, (shape, dtype) in arrays.items():
            place = Place(shape, dtype, self.size)
            self.places[name] = place
            self.size += -(-place.size // _ALIGNMENT) * _ALIGNMENT


class Region:
    """A block of shared memory, mapped into this process until its last view is gone.

    Another process opens the region by its `name`. `unlink` then removes the name.
    A process that is killed later leaves nothing behind in `/dev/shm`.
    """

    def __init__(self, layout: RegionLayout, prefix: str) -> None:
        """Allocate the memory under a new name. Raises OSError, also where memory is full."""
        self.layout = layout
        self.name = f"{prefix}{os.getpid()}-{uuid.uuid4().hex[:12]}"
        descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            # Without it, a full /dev/shm would show as SIGBUS at the first write.
            os.posix_fallocate(descriptor, 0, layout.size)
            self._map = mmap.mmap(descriptor, layout.size)
        except BaseException:
            self.unlink()
            raise
        finally:
            os.close(descriptor)

    def view(self, name: str) -> npt.NDArray[Any]:
        """Return the array `name` in place, with the shape and the dtype of the layout."""
        place = self.layout.places[name]
        return np.ndarray(place.shape, place.dtype, self._map, place.offset)

    def copy_from(self, other: "Region") -> None:
        """Copy all bytes of a region of the same layout."""
        self._map[:] = other._map[:]

    def unlink(self) -> None:
        """Remove the name. Processes that have opened the region keep it."""
        self._path.unlink()

    @property
    def _path(self) -> Path:
        return _DIRECTORY / self.name
