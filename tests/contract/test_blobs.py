"""What every blob store does."""

import time

import pytest
import redis

from sluice import redisio
from sluice.blobs import Blobs, RedisBlobs
from sluice.errors import BlobsUnavailable
from tests.conftest import free_port
from tests.fakes import MemoryBlobs


@pytest.fixture(params=["redis", "memory"])
def blobs(request: pytest.FixtureRequest) -> Blobs:
    return MemoryBlobs() if request.param == "memory" else RedisBlobs(request.getfixturevalue("redis_client"))


def test_put_get_replace_delete(blobs: Blobs) -> None:
    assert blobs.get("a/input") is None
    blobs.put("a/input", b"\0\xff\n", 60)
    assert blobs.get("a/input") == b"\0\xff\n"
    assert blobs.get("a/annotated") is None
    blobs.put("a/input", b"", 60)
    assert blobs.get("a/input") == b""
    blobs.delete("a/input")
    assert blobs.get("a/input") is None
    blobs.delete("a/input")


def test_a_blob_expires(blobs: Blobs) -> None:
    blobs.put("a", b"x", 1)
    blobs.put("b", b"x", 60)
    time.sleep(1.1)
    assert blobs.get("a") is None
    assert blobs.get("b") == b"x"


def test_keep_tells_whether_there_is_one(blobs: Blobs) -> None:
    assert blobs.keep("a", 60) is False
    blobs.put("a", b"x", 3)
    assert blobs.keep("a", 60) is True
    time.sleep(3.1)
    assert blobs.get("a") == b"x"


def test_every_key_has_a_time_to_live(redis_client: "redis.Redis") -> None:
    RedisBlobs(redis_client).put("a", b"x", 60)
    assert [redis_client.ttl(key) > 0 for key in redis_client.keys("*")] == [True]


def test_an_absent_store_is_ours_to_name() -> None:
    client = redisio.connect(f"redis://:secret@127.0.0.1:{free_port()}/0", connect_timeout_s=0.2, timeout_s=0.2)
    for call in (lambda b: b.get("a"), lambda b: b.put("a", b"", 1), lambda b: b.delete("a")):
        with pytest.raises(BlobsUnavailable) as caught:
            call(RedisBlobs(client))
        assert "secret" not in str(caught.value)
        assert "127.0.0.1" not in str(caught.value)
