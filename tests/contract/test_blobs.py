"""The contract of `Blobs`: Redis, S3 and memory."""

import os
import time

import obstore
import pytest
import redis

from sluice.blobs.s3 import S3Blobs, connect
from sluice.blobs.store import Blobs, RedisBlobs
from sluice.errors import BlobsUnavailable
from sluice.redisio import connection
from sluice.settings import BlobsSettings, RedisAddress
from tests.fakes.blobs import MemoryBlobs
from tests.support import s3
from tests.support.servers import free_port


def _in_s3(url: str, path: str = f"{s3.BUCKET}/some/prefix", timeout_s: float = 10) -> S3Blobs:
    settings = BlobsSettings(s3_endpoint=url, s3_allow_http=True)
    return S3Blobs(connect(f"s3://{path}", settings, connect_timeout_s=0.3, timeout_s=timeout_s))


@pytest.fixture
def s3_blobs(server: s3.Server, credentials: None, request: pytest.FixtureRequest) -> S3Blobs:
    return _in_s3(server.url, f"{s3.BUCKET}/{request.node.originalname}")


@pytest.fixture(params=["redis", "memory", "s3"])
def blobs(request: pytest.FixtureRequest) -> Blobs:
    if request.param == "s3":
        store: Blobs = request.getfixturevalue("s3_blobs")
        return store
    return (
        MemoryBlobs()
        if request.param == "memory"
        else RedisBlobs(request.getfixturevalue("redis_client"))
    )


def test_a_blob_can_be_put_read_replaced_and_deleted(blobs: Blobs) -> None:
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


def test_keep_extends_a_blobs_life_and_tells_whether_it_exists(blobs: Blobs) -> None:
    assert blobs.keep("a", 60) is False
    blobs.put("a", b"x", 3)
    assert blobs.keep("a", 60) is True
    time.sleep(3.1)
    assert blobs.get("a") == b"x"


def test_every_key_in_redis_has_a_time_to_live(redis_client: "redis.Redis") -> None:
    RedisBlobs(redis_client).put("a", b"x", 60)
    assert [redis_client.ttl(key) > 0 for key in redis_client.keys("*")] == [True]


def test_many_blobs_are_deleted_in_one_call_and_missing_ones_are_no_error(blobs: Blobs) -> None:
    names = [f"{number}/input" for number in range(1100)]
    for name in names[::100]:
        blobs.put(name, b"x", 60)
    blobs.put("other", b"x", 60)
    blobs.delete(*names)
    blobs.delete()
    assert [blobs.get(name) for name in names[::100]] == [None] * 11
    assert blobs.get("other") == b"x"


def test_an_unavailable_redis_raises_blobs_unavailable_without_its_address() -> None:
    client = connection.connect(RedisAddress(port=free_port(), password="secret"))
    for call in (lambda b: b.get("a"), lambda b: b.put("a", b"", 1), lambda b: b.delete("a")):
        with pytest.raises(BlobsUnavailable) as caught:
            call(RedisBlobs(client))
        assert "secret" not in str(caught.value)
        assert "127.0.0.1" not in str(caught.value)


def test_in_s3_keep_can_also_shorten_a_blobs_life(s3_blobs: S3Blobs) -> None:
    s3_blobs.put("a", b"x", 3600)
    assert s3_blobs.keep("a", 1)
    assert s3_blobs.get("a") == b"x"
    time.sleep(1.1)
    assert s3_blobs.get("a") is None
    assert s3_blobs.keep("a", 60) is False


def test_in_s3_keep_does_not_write_a_blob_that_lives_long_enough(s3_blobs: S3Blobs) -> None:
    store = s3_blobs.store
    s3_blobs.put("a", b"x", 3600)
    before = obstore.head(store, "a")["last_modified"]
    time.sleep(1.1)  # the server counts in whole seconds
    assert s3_blobs.keep("a", 3600)
    assert obstore.head(store, "a")["last_modified"] == before
    assert s3_blobs.keep("a", 7200)
    assert obstore.head(store, "a")["last_modified"] > before


def test_in_s3_a_large_image_comes_back_whole(s3_blobs: S3Blobs) -> None:
    image = os.urandom(20_000_000)
    s3_blobs.put("a", image, 60)
    assert s3_blobs.get("a") == image


@pytest.mark.parametrize("call", ["get", "put"])
def test_a_missing_bucket_raises_blobs_unavailable(
    server: s3.Server, credentials: None, call: str
) -> None:
    blobs = _in_s3(server.url, "another")
    with pytest.raises(BlobsUnavailable):
        blobs.get("a") if call == "get" else blobs.put("a", b"x", 60)


@pytest.mark.parametrize("call", ["get", "put", "keep", "delete"])
def test_an_unavailable_or_hanging_s3_raises_blobs_unavailable_without_its_address(
    server: s3.Server, credentials: None, call: str
) -> None:
    def run(blobs: S3Blobs) -> None:
        calls = {
            "get": lambda: blobs.get("a"),
            "put": lambda: blobs.put("a", b"x", 60),
            "keep": lambda: blobs.keep("a", 60),
        }
        calls.get(call, lambda: blobs.delete("a"))()

    hanging = _in_s3(server.url, timeout_s=0.5)
    with server.stopped(), pytest.raises(BlobsUnavailable) as hung:
        run(hanging)
    with pytest.raises(BlobsUnavailable) as unavailable:
        run(_in_s3(f"http://127.0.0.1:{free_port()}"))
    for message in (str(hung.value), str(unavailable.value)):
        assert not any(word in message for word in ("127.0.0.1", "hunter2", s3.BUCKET))
    run(hanging)  # the server answers again, to the same client


def test_a_blobs_url_without_a_bucket_is_a_wrong_setting(credentials: None) -> None:
    with pytest.raises(ValueError, match="SLUICE_BLOBS_URL"):
        connect("s3://", BlobsSettings(), connect_timeout_s=1, timeout_s=1)
