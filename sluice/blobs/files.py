"""Files that clients upload before they submit them: bytes in a blob, the record in Redis."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Protocol

import redis

from sluice.blobs.store import Blobs
from sluice.errors import NotFound, TooManyFiles, Unavailable
from sluice.file import File
from sluice.ids import new_id
from sluice.redisio.connection import translated
from sluice.redisio.names import Names, lua_names
from sluice.redisio.replication import Replication
from sluice.redisio.scripts import Script, load, run
from sluice.settings import BlobsSettings

_GENERATED = {"names": lua_names("file", "files", "files_used", "file_ends", "file_bytes")}
_ADD, _USE, _DELETE = (
    load("sluice.blobs", f"files/{name}", _GENERATED) for name in ("add", "use", "delete")
)


class Files(Protocol):
    """Every implementation passes `tests/contract/test_files.py`.

    All methods raise RedisUnavailable and BlobsUnavailable. `key` is the name of an API key; the
    file of another key is unknown.
    """

    def add(
        self, data: bytes, key: str, *, name: str, content_type: str, metadata: dict[str, Any]
    ) -> File:
        """Keep `data`. To make room, submitted files of the key go, the longest unused first.

        Raises TooManyFiles where that is not enough.
        """

    def get(self, file_id: str, key: str) -> File:
        """Raises NotFound."""

    def read(self, file_id: str, key: str) -> bytes:
        """The bytes, for a submission. Raises NotFound."""

    def list(self, key: str) -> Sequence[File]:
        """The newest first."""

    def delete(self, file_id: str, key: str) -> None:
        """Raises NotFound."""


class RedisFiles:
    """The files of one queue's callers. `settings`: those that begin with `file`."""

    def __init__(
        self,
        client: "redis.Redis",
        queue: str,
        blobs: Blobs,
        settings: BlobsSettings,
        replication: Replication | None = None,
        id_prefix: str = "",
    ) -> None:
        self._id_prefix = id_prefix
        self._redis = client
        self._replication = replication
        self._names = Names(queue)
        self._blobs = blobs
        self._settings = settings

    def add(
        self, data: bytes, key: str, *, name: str, content_type: str, metadata: dict[str, Any]
    ) -> File:
        limits = self._settings
        details = {
            "name": name,
            "content_type": content_type,
            "sha256": hashlib.sha256(data).hexdigest(),
            "metadata": metadata,
        }
        file_id = new_id(self._id_prefix)
        bounds = [
            limits.file_ttl_s,
            limits.files_per_key,
            limits.file_bytes_per_key,
            limits.file_bytes,
        ]
        gone, at, wait_s = self._run(_ADD, file_id, key, len(data), *bounds, json.dumps(details))
        for other in gone:
            self._blobs.delete(blob_key(other.decode()))
        if not at:
            raise too_many(float(wait_s))
        try:
            self._blobs.put(blob_key(file_id), data, limits.file_ttl_s)
        except Unavailable:
            self._run(_DELETE, file_id, key)
            raise
        made = float(at)
        return File(
            id=file_id,
            key=key,
            size=len(data),
            created_at=made,
            expires_at=made + limits.file_ttl_s,
            **details,
        )

    def get(self, file_id: str, key: str) -> File:
        with translated():
            fields: Any = self._redis.hgetall(self._names.file(file_id))
        if not fields or fields[b"key"].decode() != key:
            raise unknown(file_id)
        return _file(file_id, fields)

    def read(self, file_id: str, key: str) -> bytes:
        self.get(file_id, key)
        data = self._blobs.get(blob_key(file_id))
        if data is None:
            raise unknown(file_id)
        self._run(
            _USE, file_id, key, self._settings.file_ttl_s
        )  # not before it was read: what was used may have to go
        return data

    def list(self, key: str) -> Sequence[File]:
        with translated():
            members: Any = self._redis.zrevrange(self._names.files(key), 0, -1)
            ids = [member.decode() for member in members]
            with self._redis.pipeline(transaction=False) as pipe:
                for file_id in ids:
                    pipe.hgetall(self._names.file(file_id))
                records = pipe.execute()
        return [
            _file(file_id, fields) for file_id, fields in zip(ids, records, strict=True) if fields
        ]

    def delete(self, file_id: str, key: str) -> None:
        if not self._run(_DELETE, file_id, key):
            raise unknown(file_id)
        self._blobs.delete(blob_key(file_id))

    def _run(self, script: Script, file_id: str, key: str, *args: str | int) -> Any:
        call = script.call([self._names.file_ends], [self._names.tag, file_id, key, *args])
        with translated():
            return run(self._redis, call, self._replication)


def blob_key(file_id: str) -> str:
    return f"file/{file_id}"


def too_many(wait_s: float) -> TooManyFiles:
    return TooManyFiles(
        "there are as many files, or bytes in them, as are allowed; delete some, or wait until the"
        " next one expires",
        wait_s,
    )


def unknown(file_id: str) -> NotFound:
    return NotFound(f"no file {file_id!r} is known; files expire: upload it again")


def _file(file_id: str, fields: dict[bytes, bytes]) -> File:
    made = float(fields[b"at"])
    ends = made + int(fields[b"ttl_s"])
    details = json.loads(fields[b"file"])
    return File(
        id=file_id,
        key=fields[b"key"].decode(),
        size=int(fields[b"size"]),
        created_at=made,
        expires_at=ends,
        **details,
    )
