"""Files that clients upload before they submit them: the bytes are a blob, what is known of them is in Redis.

Keys of one queue share a hash tag:

    {default}:file:<id>         hash  one file; expires with it
    {default}:files:<key>       zset  ids of one API key, scored by creation
    {default}:files-used:<key>  zset  members of `file-ends` that were submitted, scored by when that was last
    {default}:file-ends         zset  "<key> <size> <id>", scored by the time at which it expires
    {default}:file-bytes        hash  how many bytes each API key holds; all together in the field `*`
"""

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
from sluice.settings import BlobsSettings

_COMMON = """
local tag, id, key = ARGV[1], ARGV[2], ARGV[3]
local ends, bytes, files, used = tag .. ':file-ends', tag .. ':file-bytes', tag .. ':files:' .. key, tag .. ':files-used:' .. key
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000

local function forget(member)
  local owner, size, gone = member:match('^(%S+) (%d+) (%S+)$')
  redis.call('ZREM', tag .. ':files-used:' .. owner, member)
  if redis.call('ZREM', ends, member) == 0 then return end
  redis.call('ZREM', tag .. ':files:' .. owner, gone)
  redis.call('HINCRBY', bytes, owner, 0 - size)  -- a plain minus makes -0 of 0, which is no integer to Redis
  redis.call('HINCRBY', bytes, '*', 0 - size)
  redis.call('DEL', tag .. ':file:' .. gone)
end

local function member()
  local owner, size = unpack(redis.call('HMGET', tag .. ':file:' .. id, 'key', 'size'))
  return owner == key and key .. ' ' .. size .. ' ' .. id
end
"""

# The files that had to go, and when this one was made; or how long until the next one expires, where there is no room.
_ADD = (
    _COMMON
    + """
local size, ttl_s, max_files, max_bytes, max_total, file = tonumber(ARGV[4]), ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
for _, old in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 1000)) do forget(old) end

local function full()
  local mine, all = unpack(redis.call('HMGET', bytes, key, '*'))
  return redis.call('ZCARD', files) >= tonumber(max_files)
    or (mine or 0) + size > tonumber(max_bytes) or (all or 0) + size > tonumber(max_total)
end

local gone = {}
while full() do
  local old = redis.call('ZRANGE', used, 0, 0)[1]
  if not old then return {gone, '', tostring((redis.call('ZRANGE', ends, 0, 0, 'WITHSCORES')[2] or now) - now)} end
  gone[#gone + 1] = old:match('%S+$')
  forget(old)
end
local at = string.format('%.6f', now)
redis.call('HSET', tag .. ':file:' .. id, 'key', key, 'size', ARGV[4], 'file', file, 'at', at, 'ttl_s', ttl_s)
redis.call('EXPIRE', tag .. ':file:' .. id, ttl_s)
redis.call('ZADD', files, now, id)
redis.call('ZADD', ends, now + ttl_s, key .. ' ' .. ARGV[4] .. ' ' .. id)
redis.call('HINCRBY', bytes, key, ARGV[4])
redis.call('HINCRBY', bytes, '*', ARGV[4])
for _, name in ipairs({files, ends, bytes, used}) do redis.call('EXPIRE', name, ttl_s + 60) end
return {gone, at, ''}
"""
)
_USE = (
    _COMMON
    + """
local found = member()
if found then
  redis.call('ZADD', used, now, found)
  redis.call('EXPIRE', used, ARGV[4] + 60)
end
"""
)
_DELETE = (
    _COMMON + "local found = member()\nif not found then return 0 end\nforget(found)\nreturn 1"
)


class Files(Protocol):
    """Every implementation passes `tests/contract/test_files.py`. All methods raise RedisUnavailable and BlobsUnavailable.

    `key` is the name of an API key; another key's file is unknown to it.
    """

    def add(
        self, data: bytes, key: str, *, name: str, content_type: str, metadata: dict[str, Any]
    ) -> File:
        """Keep `data`. To make room, the key's files that were submitted go, the longest unused first. Raises TooManyFiles."""

    def get(self, file_id: str, key: str) -> File:
        """Raises NotFound."""

    def read(self, file_id: str, key: str) -> bytes:
        """The bytes, for a submission. Raises NotFound."""

    def list(self, key: str) -> Sequence[File]:
        """The newest first."""

    def delete(self, file_id: str, key: str) -> None:
        """Raises NotFound."""


class RedisFiles:
    """The files of one queue's callers. Of `settings`, what begins with `file` is heeded."""

    def __init__(
        self, client: "redis.Redis", queue: str, blobs: Blobs, settings: BlobsSettings
    ) -> None:
        self._redis = client
        self._tag = f"{{{queue}}}"
        self._blobs = blobs
        self._settings = settings
        self._add, self._use, self._delete = (
            client.register_script(text) for text in (_ADD, _USE, _DELETE)
        )

    def add(
        self, data: bytes, key: str, *, name: str, content_type: str, metadata: dict[str, Any]
    ) -> File:
        limits = self._settings
        known = {
            "name": name,
            "content_type": content_type,
            "sha256": hashlib.sha256(data).hexdigest(),
            "metadata": metadata,
        }
        file_id = new_id()
        bounds = [
            limits.file_ttl_s,
            limits.files_per_key,
            limits.file_bytes_per_key,
            limits.file_bytes,
        ]
        gone, at, wait_s = self._run(self._add, file_id, key, len(data), *bounds, json.dumps(known))
        for other in gone:
            self._blobs.delete(blob_key(other.decode()))
        if not at:
            raise too_many(float(wait_s))
        try:
            self._blobs.put(blob_key(file_id), data, limits.file_ttl_s)
        except Unavailable:
            self._run(self._delete, file_id, key)
            raise
        made = float(at)
        return File(
            id=file_id,
            key=key,
            size=len(data),
            created_at=made,
            expires_at=made + limits.file_ttl_s,
            **known,
        )

    def get(self, file_id: str, key: str) -> File:
        with translated():
            fields: Any = self._redis.hgetall(self._record(file_id))
        if not fields or fields[b"key"].decode() != key:
            raise unknown(file_id)
        return _file(file_id, fields)

    def read(self, file_id: str, key: str) -> bytes:
        self.get(file_id, key)
        data = self._blobs.get(blob_key(file_id))
        if data is None:
            raise unknown(file_id)
        self._run(
            self._use, file_id, key, self._settings.file_ttl_s
        )  # not before it was read: what was used may have to go
        return data

    def list(self, key: str) -> Sequence[File]:
        with translated():
            found: Any = self._redis.zrevrange(f"{self._tag}:files:{key}", 0, -1)
            ids = [item.decode() for item in found]
            with self._redis.pipeline(transaction=False) as pipe:
                for file_id in ids:
                    pipe.hgetall(self._record(file_id))
                records = pipe.execute()
        return [
            _file(file_id, fields) for file_id, fields in zip(ids, records, strict=True) if fields
        ]

    def delete(self, file_id: str, key: str) -> None:
        if not self._run(self._delete, file_id, key):
            raise unknown(file_id)
        self._blobs.delete(blob_key(file_id))

    def _record(self, file_id: str) -> str:
        return f"{self._tag}:file:{file_id}"

    def _run(self, script: Any, file_id: str, key: str, *args: str | int) -> Any:
        with translated():
            return script(keys=[f"{self._tag}:file-ends"], args=[self._tag, file_id, key, *args])


def blob_key(file_id: str) -> str:
    return f"file/{file_id}"


def too_many(wait_s: float) -> TooManyFiles:
    return TooManyFiles(
        "there are as many files, or as many bytes in them, as are allowed; delete some, or wait until the next one expires",
        wait_s,
    )


def unknown(file_id: str) -> NotFound:
    return NotFound(f"no file {file_id!r} is known; files expire: upload it again")


def _file(file_id: str, fields: dict[bytes, bytes]) -> File:
    made = float(fields[b"at"])
    ends = made + int(fields[b"ttl_s"])
    known = json.loads(fields[b"file"])
    return File(
        id=file_id,
        key=fields[b"key"].decode(),
        size=int(fields[b"size"]),
        created_at=made,
        expires_at=ends,
        **known,
    )
