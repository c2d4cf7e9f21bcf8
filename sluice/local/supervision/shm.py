"""Shared memory segments by the prefix of their names. A killed process leaves its own behind, in memory, until a restart."""

from pathlib import Path

DIRECTORY = Path("/dev/shm")  # noqa: S108  the kernel's own name for where they are


def segments(prefix: str) -> list[Path]:
    """The segments whose names begin so. Raises ValueError for an empty prefix, which would be everybody's."""
    if not prefix:
        raise ValueError("a prefix is needed")
    return (
        sorted(path for path in DIRECTORY.iterdir() if path.name.startswith(prefix))
        if DIRECTORY.is_dir()
        else []
    )


def remove(prefix: str) -> None:
    """Remove them; call it when whoever used them is gone."""
    for path in segments(prefix):
        path.unlink(missing_ok=True)
