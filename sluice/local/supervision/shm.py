"""Shared memory segments, by the prefix of their names.

A killed process leaves its segments behind, in memory, until the next boot.
"""

from pathlib import Path

DIRECTORY = Path("/dev/shm")  # noqa: S108  the kernel's name for the folder


def segments(prefix: str) -> list[Path]:
    """The segments whose names begin with `prefix`.

    Raises ValueError for an empty prefix, since every segment of the machine would match.
    """
    if not prefix:
        raise ValueError("the prefix is empty")
    if not DIRECTORY.is_dir():
        return []
    return sorted(path for path in DIRECTORY.iterdir() if path.name.startswith(prefix))


def remove(prefix: str) -> None:
    """Remove the segments of `prefix`. Call `remove` after the end of their users."""
    for path in segments(prefix):
        path.unlink(missing_ok=True)
