"""Uploaded files in memory."""

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from sluice.blobs.files import too_many, unknown
from sluice.file import File
from sluice.ids import new_id
from sluice.settings import BlobsSettings


class MemoryFiles:
    """`clock` gives seconds since the epoch."""

    def __init__(
        self, settings: BlobsSettings | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.settings = settings or BlobsSettings()
        self._clock = clock
        self._files: dict[str, tuple[File, bytes]] = {}
        #: Ids, the longest unused first.
        self._used: dict[str, None] = {}

    def add(
        self, data: bytes, key: str, *, name: str, content_type: str, metadata: dict[str, Any]
    ) -> File:
        now = self._clock()
        self._files = {
            file_id: entry for file_id, entry in self._files.items() if entry[0].expires_at > now
        }
        while self._full(key, len(data)):
            used = next(
                (
                    file_id
                    for file_id in self._used
                    if file_id in self._files and self._files[file_id][0].key == key
                ),
                None,
            )
            if used is None:
                raise too_many(
                    min((file.expires_at - now for file, _ in self._files.values()), default=0)
                )
            del self._files[used]
        file = File(
            id=new_id(),
            key=key,
            name=name,
            content_type=content_type,
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            metadata=metadata,
            created_at=now,
            expires_at=now + self.settings.file_ttl_s,
        )
        self._files[file.id] = (file, data)
        return file

    def get(self, file_id: str, key: str) -> File:
        return self._find(file_id, key)[0]

    def read(self, file_id: str, key: str) -> bytes:
        data = self._find(file_id, key)[1]
        self._used.pop(file_id, None)
        self._used[file_id] = None
        return data

    def list(self, key: str) -> Sequence[File]:
        return [
            file
            for file, _ in reversed(self._files.values())
            if file.key == key and file.expires_at > self._clock()
        ]

    def delete(self, file_id: str, key: str) -> None:
        self._find(file_id, key)
        del self._files[file_id]

    def _find(self, file_id: str, key: str) -> tuple[File, bytes]:
        file, data = self._files.get(file_id, (None, b""))
        if file is None or file.key != key or file.expires_at <= self._clock():
            raise unknown(file_id)
        return file, data

    def _full(self, key: str, size: int) -> bool:
        key_sizes = [file.size for file, _ in self._files.values() if file.key == key]
        all_bytes = sum(file.size for file, _ in self._files.values())
        limits = self.settings
        return (
            len(key_sizes) >= limits.files_per_key
            or sum(key_sizes) + size > limits.file_bytes_per_key
            or all_bytes + size > limits.file_bytes
        )
