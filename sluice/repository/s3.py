"""A model repository in a bucket of S3, or of a store with its protocol.

A bucket knows no renames. A version's files are written first, and the configuration last. A Triton
that starts in between sees a new model without its configuration, and does not serve it.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError

from sluice.blobs import s3
from sluice.errors import RepositoryError
from sluice.repository.storage import BUSY, CONFIG, Files
from sluice.settings import BlobsSettings

if TYPE_CHECKING:
    from obstore.store import S3Store

_LOCK = ".sluice.lock"
_CONNECT_TIMEOUT_S = 2.0
_TIMEOUT_S = 5.0  # of a small request: an unreachable bucket is told within seconds
_TRANSFER_TIMEOUT_S = 60.0  # of one part of a file
_PART_BYTES = 8 << 20
# A command that was killed leaves its lock. No command holds one for so long.
_STALE_AFTER = timedelta(minutes=30)


class Bucket:
    """A model repository at `s3://bucket/prefix`.

    The lock is an object that only one command can create. A stalled command may lose its lock
    after half an hour; S3 offers nothing stricter.
    """

    def __init__(self, url: str, settings: BlobsSettings, *, lock_timeout_s: float = 30.0) -> None:
        """Makes no request yet. Raises RepositoryError for a wrong URL."""
        self.location = url.rstrip("/")
        self._lock_timeout_s = lock_timeout_s
        try:
            self._store = self._connect(settings, _TIMEOUT_S)
            self._transfers = self._connect(settings, _TRANSFER_TIMEOUT_S)
        except ValueError:
            raise RepositoryError(
                f"{url!r}, or a SLUICE_BLOBS_S3_… or AWS_… variable beside it,"
                " is not what S3 needs: s3://bucket/prefix"
            ) from None

    def models(self) -> list[str]:
        return [name for name in self._folders("") if not name.startswith(".")]

    def versions(self, name: str) -> list[int]:
        return sorted(
            int(folder)
            for folder in self._folders(f"{name}/")
            if folder.isdecimal() and not folder.startswith("0")
        )

    def read(self, path: str) -> bytes | None:
        with self._translated():
            try:
                return obstore.get(self._store, path).bytes().to_bytes()
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None

    def write(self, path: str, data: bytes) -> None:
        with self._translated():
            obstore.put(self._store, path, data, use_multipart=False)

    def files(self, name: str, version: int) -> list[str]:
        prefix = f"{name}/{version}/"
        with self._translated():
            found = obstore.list_with_delimiter(self._store, prefix)["objects"]
        return sorted(meta["path"].rpartition("/")[2] for meta in found)

    def put(self, name: str, version: int, files: Files, config: str) -> None:
        with self._translated():
            for file, source in files.items():
                target = f"{name}/{version}/{file}"
                if isinstance(source, str):
                    obstore.copy(self._transfers, source, target)
                else:
                    obstore.put(self._transfers, target, source, chunk_size=_PART_BYTES)
        self.write(f"{name}/{version}/{CONFIG}", config.encode())
        self.write(f"{name}/{CONFIG}", config.encode())

    def delete_version(self, name: str, version: int) -> None:
        self._delete(f"{name}/{version}/")

    def delete_model(self, name: str) -> None:
        with self._translated():
            obstore.delete(self._store, [f"{name}/{CONFIG}"])
        self._delete(f"{name}/")

    @contextmanager
    def lock(self) -> Iterator[None]:
        end = time.monotonic() + self._lock_timeout_s
        while not self._try_lock():
            if time.monotonic() > end:
                raise RepositoryError(BUSY)
            time.sleep(1.0)
        try:
            yield
        finally:
            with self._translated():
                obstore.delete(self._store, [_LOCK])

    def _try_lock(self) -> bool:
        owner = json.dumps({"host": os.uname().nodename, "process": os.getpid()}).encode()
        with self._translated():
            try:
                obstore.put(self._store, _LOCK, owner, mode="create", use_multipart=False)
                return True
            except AlreadyExistsError:
                pass
            try:
                age = datetime.now(UTC) - obstore.head(self._store, _LOCK)["last_modified"]
                if age > _STALE_AFTER:
                    obstore.delete(self._store, [_LOCK])
            except FileNotFoundError:
                pass  # released meanwhile
        return False

    def _folders(self, prefix: str) -> list[str]:
        with self._translated():
            found = obstore.list_with_delimiter(self._store, prefix or None)["common_prefixes"]
        return sorted(path.rstrip("/").rpartition("/")[2] for path in found)

    def _delete(self, prefix: str) -> None:
        with self._translated():
            paths = [meta["path"] for page in obstore.list(self._store, prefix) for meta in page]
            if paths:
                obstore.delete(self._store, paths)

    def _connect(self, settings: BlobsSettings, timeout_s: float) -> "S3Store":
        return s3.connect(
            self.location, settings, connect_timeout_s=_CONNECT_TIMEOUT_S, timeout_s=timeout_s
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raises RepositoryError for each error of obstore, which shows the whole request."""
        try:
            yield
        except (BaseError, OSError) as error:
            missing = "NoSuchBucket" in str(error)
            problem = "there is no such bucket" if missing else "it does not answer, or refuses"
            raise RepositoryError(
                f"the model repository {self.location} can't be used: {problem};"
                " see SLUICE_BLOBS_S3_ENDPOINT and the AWS_… variables"
            ) from error
