"""The contract of `Files`, in Redis and in memory."""

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from sluice.blobs.files import Files, RedisFiles
from sluice.blobs.store import RedisBlobs
from sluice.errors import BlobsUnavailable, NotFound, TooManyFiles
from sluice.file import File
from sluice.settings import BlobsSettings
from tests.fakes.blobs import MemoryBlobs
from tests.fakes.files import MemoryFiles

Make = Callable[..., Files]


@pytest.fixture(params=["redis", "memory"])
def make(request: pytest.FixtureRequest) -> Make:
    """A function that makes a store from settings."""
    if request.param == "memory":
        return lambda **settings: MemoryFiles(BlobsSettings(**settings))
    client = request.getfixturevalue("redis_client")
    return lambda **settings: RedisFiles(
        client, "default", RedisBlobs(client), BlobsSettings(**settings)
    )


def _add(files: Files, data: bytes = b"12345", key: str = "default") -> File:
    return files.add(
        data, key, name="a.jpg", content_type="image/jpeg", metadata={"of": ["mine", 1]}
    )


def test_an_uploaded_file_can_be_described_read_and_deleted(make: Make) -> None:
    files, before = make(file_ttl_s=60), time.time()
    file = _add(files, b"\0\xff\n")
    assert before - 1 < file.created_at < time.time() + 1
    assert file.expires_at == pytest.approx(file.created_at + 60)
    assert (file.name, file.content_type, file.size, file.metadata) == (
        "a.jpg",
        "image/jpeg",
        3,
        {"of": ["mine", 1]},
    )
    assert file.sha256 == hashlib.sha256(b"\0\xff\n").hexdigest()
    assert files.get(file.id, "default") == file
    assert files.read(file.id, "default") == b"\0\xff\n"
    files.delete(file.id, "default")
    assert files.list("default") == []
    for call in (files.get, files.read, files.delete):
        with pytest.raises(NotFound, match="upload it again"):
            call(file.id, "default")


def test_an_empty_file_can_be_uploaded_and_read(make: Make) -> None:
    files = make()
    file = _add(files, b"")
    assert (file.size, files.read(file.id, "default")) == (0, b"")
    files.delete(file.id, "default")
    assert files.list("default") == []


def test_an_api_key_sees_only_its_own_files(make: Make) -> None:
    files = make()
    mine, other = _add(files, key="a"), _add(files, key="b")
    for call in (files.get, files.read, files.delete):
        with pytest.raises(NotFound):
            call(other.id, "a")
    assert [file.id for file in files.list("a")] == [mine.id]
    assert files.read(other.id, "b") == b"12345"


def test_files_are_listed_with_the_newest_first(make: Make) -> None:
    files = make()
    made = [_add(files) for _ in range(5)]
    assert files.list("default") == made[::-1]


def test_a_file_expires_and_makes_room_for_another(make: Make) -> None:
    files = make(file_ttl_s=3, files_per_key=1)
    file = _add(files)
    with pytest.raises(TooManyFiles) as caught:
        _add(files)
    assert 0 < caught.value.retry_after_s <= 3
    until = time.monotonic() + 30
    while files.list("default"):
        assert time.monotonic() < until
        time.sleep(0.05)
    with pytest.raises(NotFound):
        files.read(file.id, "default")
    _add(files)


@pytest.mark.parametrize(
    "bound", [{"files_per_key": 2}, {"file_bytes_per_key": 12}, {"file_bytes": 12}], ids=str
)
def test_a_file_beyond_the_bounds_is_refused(make: Make, bound: dict[str, int]) -> None:
    files = make(**bound)
    first, second = _add(files), _add(files)
    with pytest.raises(TooManyFiles, match="delete some"):
        _add(files)
    assert {file.id for file in files.list("default")} == {first.id, second.id}
    files.delete(first.id, "default")
    _add(files)


def test_one_api_keys_files_do_not_count_for_another(make: Make) -> None:
    files = make(files_per_key=1, file_bytes_per_key=5, file_bytes=10)
    _add(files, key="a")
    _add(files, key="b")
    with pytest.raises(TooManyFiles):  # all have together what all may have
        _add(files, b"1", key="c")


def test_used_files_make_room_for_new_ones_and_the_longest_unused_goes_first(make: Make) -> None:
    files = make(files_per_key=3)
    unused, first, second = (_add(files) for _ in range(3))
    for file in (first, second, first):
        files.read(file.id, "default")
    third = _add(files)
    assert {file.id for file in files.list("default")} == {unused.id, first.id, third.id}
    fourth = _add(files)
    assert {file.id for file in files.list("default")} == {unused.id, third.id, fourth.id}
    with pytest.raises(TooManyFiles):
        _add(files)


def test_the_files_of_another_api_key_make_no_room(make: Make) -> None:
    files = make(file_bytes=5)
    file = _add(files, key="a")
    files.read(file.id, "a")
    with pytest.raises(TooManyFiles):
        _add(files, key="b")
    assert files.read(file.id, "a") == b"12345"


def test_many_uploads_at_once_keep_to_the_bounds(redis_client: "redis.Redis") -> None:
    files = RedisFiles(
        redis_client, "default", RedisBlobs(redis_client), BlobsSettings(files_per_key=7)
    )

    def attempt(_: int) -> bool:
        try:
            _add(files)
        except TooManyFiles:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(40))) == 7
    assert redis_client.hget("{default}:file-bytes", "*") == b"35"


def test_every_key_of_files_has_a_time_to_live_and_removed_files_leave_no_bytes(
    redis_client: "redis.Redis",
) -> None:
    files = RedisFiles(
        redis_client, "default", RedisBlobs(redis_client), BlobsSettings(files_per_key=2)
    )
    for _ in range(5):
        files.read(_add(files).id, "default")
    names = redis_client.keys("*")
    assert all(redis_client.ttl(name) > 0 for name in names), names
    assert len(redis_client.keys("blob:*")) == len(redis_client.keys("{default}:file:*")) == 2
    assert redis_client.hgetall("{default}:file-bytes") == {b"default": b"10", b"*": b"10"}
    for file in files.list("default"):
        files.delete(file.id, "default")
    assert redis_client.keys("blob:*") == redis_client.keys("{default}:file:*") == []
    assert redis_client.hget("{default}:file-bytes", "*") == b"0"


def test_a_file_that_could_not_be_stored_is_not_listed(redis_client: "redis.Redis") -> None:
    class Away(MemoryBlobs):
        def put(self, key: str, data: bytes, ttl_s: int) -> None:
            raise BlobsUnavailable("away")

    files = RedisFiles(redis_client, "default", Away(), BlobsSettings())
    with pytest.raises(BlobsUnavailable):
        _add(files)
    assert files.list("default") == []
    assert redis_client.hget("{default}:file-bytes", "*") == b"0"
