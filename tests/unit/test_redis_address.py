"""Addresses of Redis: refused at the start, in words, and with no part of the password."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from kombu.utils.url import parse_url

from sluice.redisio.connection import celery_options, connect
from sluice.settings import BlobsSettings, RedisAddress, RedisSettings, Settings
from sluice.settings.redis_address import Tls
from sluice.settings.sentinels import Sentinels

ANY = "/ + @ # ? : % & = [ ] \" ' \\ ü 世"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://127.0.0.1:6379/0", RedisAddress()),
        ("redis://host", RedisAddress("host")),
        ("redis://host?db=3", RedisAddress("host", database=3)),
        ("redis://[::1]:6380/1", RedisAddress("::1", 6380, 1)),
        ("redis://user:p%2Fw@host/0", RedisAddress("host", username="user", password="p/w")),
        ("redis://:a@b@host", RedisAddress("host", password="a@b")),
        ("rediss://host", RedisAddress("host", tls=Tls())),
        (
            "redis+sentinel://user:p%2Fw@a,b:26380,[::1],[::2]:1/main/2",
            RedisAddress(
                "sentinel",
                database=2,
                username="user",
                password="p/w",
                sentinels=Sentinels(
                    (("a", 26379), ("b", 26380), ("::1", 26379), ("::2", 1)), "main"
                ),
            ),
        ),
        (
            "rediss+sentinel://a/main?ssl_cert_reqs=none",
            RedisAddress(
                "sentinel", tls=Tls(verify="none"), sentinels=Sentinels((("a", 26379),), "main")
            ),
        ),
        ("rediss://host?ssl_cert_reqs=none", RedisAddress("host", tls=Tls(verify="none"))),
        ("rediss://host?ssl_cert_reqs=CERT_NONE", RedisAddress("host", tls=Tls(verify="none"))),
        ("rediss://host?ssl_check_hostname=false", RedisAddress("host", tls=Tls(verify="ca"))),
        ("rediss://host?ssl_cert_reqs=CERT_REQUIRED", RedisAddress("host", tls=Tls())),
    ],
)
def test_a_good_url_is_read(url: str, address: RedisAddress) -> None:
    assert RedisAddress.parse(url) == address


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://:Qm/7+xT=@127.0.0.1:6379/0", "percent-encoded.*SLUICE_REDIS_PASSWORD"),
        ("redis://:a@b#c%d@127.0.0.1:6379/0", "percent-encoded"),
        ("redis://:secret?x@127.0.0.1:6379/0", "percent-encoded"),
        ("redis://:secret[x@127.0.0.1:6379/0", "percent-encoded"),
        ("redis://:secret:x@127.0.0.1:port/0", "no port that is a number"),
        ("redis://host:6379/secret", "number of a database"),
        ("redis://host:6379/0?foo=bar", "unknown option 'foo'"),
        ("rediss://host:6379/0?ssl_cert_reqs=CERT_MAYBE", "none, optional, required"),
        ("rediss://host:6379/0?ssl_check_hostname=maybe", "neither true nor false"),
        ("rediss://host:6379/0?ssl_ca_certs=/no/file", "there is no file /no/file"),
        ("redis://host:6379/0?ssl_cert_reqs=none", "needs rediss://"),
        ("redis+sentinel://:Qm/7+xT=@a:26379/main/0", "percent-encoded.*SLUICE_REDIS_PASSWORD"),
        ("redis+sentinel://:secret@a:26379", "names no master"),
        ("redis+sentinel://:secret@/main", "names no Sentinel"),
        ("redis+sentinel://:secret@a:port/main", "Sentinel whose port is no number"),
        ("redis+sentinel://a:26379/main/secret", "number of a database"),
        ("http://host:6379", "must be redis://"),
        ("secret", "must be redis://"),
    ],
)
def test_a_bad_url_says_what_to_change_and_not_the_password(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        RedisSettings(url=url)
    for part in ("Qm", "7+xT", "secret", "c%d"):
        assert part not in str(caught.value)


@pytest.fixture
def pem(tmp_path: Path) -> str:
    path = tmp_path / "some.pem"
    path.touch()
    return str(path)


def test_the_settings_beside_the_url_complete_it(pem: str) -> None:
    redis = RedisSettings(
        url="rediss://host:6380/1",
        username="app",
        password=ANY,
        ca_file=pem,
        cert_file=pem,
        key_file=pem,
        verify="ca",
    )
    address = RedisAddress("host", 6380, 1, "app", ANY, Tls(pem, pem, pem, "ca"))
    assert redis.address() == address
    assert ANY not in f"{redis!r} {address!r} {redis}"
    settings = Settings(redis=redis)
    assert settings.redis_address(7) == replace(address, connect_timeout_s=0.3, timeout_s=7)
    assert settings.blobs_address(7) == settings.redis_address(7)


def test_the_blobs_redis_has_settings_of_its_own(pem: str) -> None:
    blobs = BlobsSettings(url="rediss://blobs", redis_password="b", redis_ca_file=pem)
    settings = Settings(redis=RedisSettings(password="a"), blobs=blobs)
    assert settings.blobs_address(1).password == "b"
    assert settings.blobs_address(1).tls == Tls(pem)
    assert settings.redis_address(1).password == "a"
    for url in (None, "s3://bucket"):
        with pytest.raises(ValueError, match="SLUICE_BLOBS_REDIS_"):
            BlobsSettings(url=url, redis_password="b")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"url": "redis://:secret@host", "password": "other"}, "SLUICE_REDIS_PASSWORD: differs"),
        ({"url": "redis://me@host", "username": "app"}, "SLUICE_REDIS_USERNAME: differs"),
        ({"url": "rediss://host?ssl_cert_reqs=none", "verify": "full"}, "SLUICE_REDIS_VERIFY"),
        ({"url": "redis://host", "verify": "full"}, "SLUICE_REDIS_VERIFY: is for TLS"),
        ({"ca_file": "/no/file"}, "there is no file /no/file"),
        ({"url": "redis://host", "ca_file": __file__}, "SLUICE_REDIS_CA_FILE: is for TLS"),
        ({"url": "rediss://host", "key_file": __file__}, "SLUICE_REDIS_CERT_FILE, which is miss"),
    ],
)
def test_settings_that_contradict_each_other_are_named(values: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        RedisSettings.model_validate(values)
    assert not re.search("secret|other", str(caught.value))


def test_the_same_password_may_come_twice_and_an_empty_one_is_none() -> None:
    assert RedisSettings(url="redis://:a@host", password="a").address().password == "a"
    assert RedisSettings(url="redis://:a@host", password="", username="").address().password == "a"


def test_redis_py_and_celery_get_the_same(pem: str) -> None:
    tls = Tls(pem, None, None, "ca")
    address = RedisAddress("::1", 6380, 2, "me@home", ANY, tls)
    options = connect(address).connection_pool.connection_kwargs
    celery = celery_options(address)
    broker = parse_url(celery["broker_url"])
    assert (broker["userid"], broker["password"]) == (address.username, address.password)
    assert (broker["hostname"], broker["port"], broker["virtual_host"]) == ("::1", 6380, "2")
    assert options["password"] == ANY
    assert options["ssl_ca_certs"] == pem
    assert celery["broker_use_ssl"].items() <= options.items()


def test_the_sentinels_password_is_a_setting_that_the_blobs_redis_shares() -> None:
    settings = Settings(
        redis=RedisSettings(
            url="redis+sentinel://a/main", sentinel_username="user", sentinel_password="secret"
        ),
        blobs=BlobsSettings(url="redis+sentinel://a/blobs"),
    )
    for address in (settings.redis_address(1), settings.blobs_address(1)):
        assert address.sentinels
        assert (address.sentinels.username, address.sentinels.password) == ("user", "secret")
        assert "secret" not in repr(address)
