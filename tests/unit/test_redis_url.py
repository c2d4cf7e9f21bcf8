"""URLs of Redis: refused at the start, in words, and with no part of the password."""

import pytest

from sluice.settings import RedisSettings, redis_url


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "redis://host",
        "redis://[::1]:6379/1",
        "redis://user:p%2Fw@host:6379/0",
        "redis://:a@b@host:6379/0",
        "rediss://host:6380/0?ssl_cert_reqs=none&ssl_ca_certs=/etc/ca.pem",
    ],
)
def test_a_good_url_passes(url: str) -> None:
    assert redis_url.check(url) == url


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://:Qm/7+xT=@127.0.0.1:6379/0", "percent-encoded"),
        ("redis://:a@b#c%d@127.0.0.1:6379/0", "percent-encoded"),
        ("redis://:secret?x@127.0.0.1:6379/0", "percent-encoded"),
        ("redis://:secret:x@127.0.0.1:port/0", "no port that is a number"),
        ("redis://host:6379/secret", "number of a database"),
        ("redis://host:6379/0?foo=bar", "unknown option 'foo'"),
        ("rediss://host:6379/0?ssl_cert_reqs=CERT_NONE", "none, optional, required"),
        ("http://host:6379", "must be redis://"),
        ("secret", "must be redis://"),
    ],
)
def test_a_bad_url_says_what_to_change_and_not_the_password(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        RedisSettings(url=url)
    for part in ("Qm", "7+xT", "secret", "c%d"):
        assert part not in str(caught.value)
