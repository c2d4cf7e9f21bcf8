"""The place where the model repository lies: a folder here, a bucket in `s3.py`.

    NAME/config.pbtxt        the live version's configuration, which Triton reads
    NAME/V/model.onnx        the graph that is served
    NAME/V/source.onnx       the graph as it came, where the served one is another
    NAME/V/config.pbtxt      that version's configuration, for a rollback
    .sluice.json             the highest version of each name, and those that are being added

Triton takes each folder of the repository for a model. Hence all else is files, or gone in a
moment.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from sluice.errors import RepositoryError

Files = Mapping[str, Path | str]

CONFIG = "config.pbtxt"
BUSY = "another `sluice models` command is changing the model repository; try again when it is done"

_LOCK = ".sluice.lock"
_STAGED = ".adding-"  # the prefix of a folder that is not complete
_DOOMED = ".removing-"
_LOCK_POLL_S = 0.1


class Storage(Protocol):
    """A model repository's files. Paths are relative, with slashes.

    Every implementation passes `tests/contract/test_model_storage.py`.
    All methods raise RepositoryError where the place can't be used.
    """

    location: str
    """For people and for Triton: a folder, or s3://bucket/prefix."""

    def models(self) -> list[str]:
        """The names of the models' folders, sorted. Hidden folders are none."""

    def versions(self, name: str) -> list[int]:
        """The versions of a model that have a folder, in rising order."""

    def read(self, path: str) -> bytes | None:
        """The content of a file, or None where there is no such file."""

    def write(self, path: str, data: bytes) -> None:
        """Replace a file in one step: a reader sees the old content or the new."""

    def files(self, name: str, version: int) -> list[str]:
        """The names of the files of a version, sorted."""

    def put(self, name: str, version: int, files: Files, config: str) -> None:
        """Add a version and make `config` the model's configuration, in this order.

        `files` are the version's files by their names: files of this machine, or as text the path
        of a file in this repository. `config` is written beside them too.
        A reader never sees the new configuration without all files of the version.
        """

    def delete_version(self, name: str, version: int) -> None:
        """Delete a version's folder. An absent one is no error."""

    def delete_model(self, name: str) -> None:
        """Delete a model, its configuration first. An absent one is no error."""

    def lock(self) -> AbstractContextManager[None]:
        """One command at a time changes the repository. Raises RepositoryError after a wait.

        At its start, the rest of commands that were killed is removed.
        """


class Folder:
    """A model repository in a folder of this machine, or of a file system that it mounts."""

    def __init__(self, root: Path, *, lock_timeout_s: float = 30.0) -> None:
        """A lock that another command holds is awaited for `lock_timeout_s`."""
        self._root = root
        self._lock_timeout_s = lock_timeout_s
        self.location = str(root)

    def models(self) -> list[str]:
        with self._translated():
            return sorted(
                path.name
                for path in self._root.iterdir()
                if path.is_dir() and not path.name.startswith(".")
            )

    def versions(self, name: str) -> list[int]:
        folder = self._root / name
        with self._translated():
            if not folder.is_dir():
                return []
            return sorted(
                int(path.name) for path in folder.iterdir() if path.is_dir() and _is_number(path)
            )

    def files(self, name: str, version: int) -> list[str]:
        folder = self._root / name / str(version)
        with self._translated():
            return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def read(self, path: str) -> bytes | None:
        with self._translated():
            try:
                return (self._root / path).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def write(self, path: str, data: bytes) -> None:
        target = self._root / path
        new = target.with_name(f".{target.name}.new")
        with self._translated():
            _write(new, data)
            new.replace(target)
            _sync(target.parent)

    def put(self, name: str, version: int, files: Files, config: str) -> None:
        folder = self._root / name
        with self._translated():
            if folder.is_dir():
                with _staged(folder, str(version)) as staged:
                    self._fill(staged, files, config)
                self.write(f"{name}/{CONFIG}", config.encode())
                return
            with _staged(self._root, name) as staged:
                self._fill(staged / str(version), files, config)
                _write(staged / CONFIG, config.encode())

    def delete_version(self, name: str, version: int) -> None:
        self._delete(self._root / name, str(version))

    def delete_model(self, name: str) -> None:
        self._delete(self._root, name)

    @contextmanager
    def lock(self) -> Iterator[None]:
        with self._translated():
            self._root.mkdir(parents=True, exist_ok=True)
            file = (self._root / _LOCK).open("a")
        with file:
            end = time.monotonic() + self._lock_timeout_s
            while not _try_lock(file.fileno()):
                if time.monotonic() > end:
                    raise RepositoryError(BUSY)
                time.sleep(_LOCK_POLL_S)
            self._clean()
            yield

    def _clean(self) -> None:
        with self._translated():
            for prefix in (_STAGED, _DOOMED):
                for path in (*self._root.glob(f"{prefix}*"), *self._root.glob(f"*/{prefix}*")):
                    shutil.rmtree(path)

    def _delete(self, parent: Path, name: str) -> None:
        """Rename, then delete: nobody sees half of it."""
        doomed = parent / f"{_DOOMED}{name}"
        with self._translated():
            try:
                (parent / name).rename(doomed)
            except FileNotFoundError:
                return
            _sync(parent)
            shutil.rmtree(doomed)

    def _fill(self, folder: Path, files: Files, config: str) -> None:
        folder.mkdir(exist_ok=True)
        _write(folder / CONFIG, config.encode())
        for name, source in files.items():
            if isinstance(source, str):
                _link(self._root / source, folder / name)
            else:
                shutil.copyfile(source, folder / name)
            with (folder / name).open("rb") as file:
                os.fsync(file.fileno())
        _sync(folder)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = f"{error.filename or self._root}: {error.strerror or error}"
            raise RepositoryError(
                f"the model repository {self._root} can't be used: {reason}"
            ) from error


def _is_number(path: Path) -> bool:
    """True for a folder that Triton takes for a version."""
    return path.name.isascii() and path.name.isdecimal() and not path.name.startswith("0")


@contextmanager
def _staged(parent: Path, name: str) -> Iterator[Path]:
    """A hidden folder, which becomes `parent / name` at the end; deleted where the block fails."""
    folder = parent / f"{_STAGED}{name}"
    folder.mkdir()
    try:
        yield folder
        _sync(folder)
        folder.rename(parent / name)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    _sync(parent)


def _link(source: Path, target: Path) -> None:
    """Give a file of the repository a second name. No file of a version is changed in place."""
    try:
        target.hardlink_to(source)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make renames in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
