"""The URLs of answers, behind proxies of many kinds."""

from typing import Any

import pytest
from starlette.requests import HTTPConnection

from api.base_url import base_url
from sluice.settings import ApiSettings

BEHIND = ApiSettings(trusted_proxies="10.0.0.0/8, fd00::/8")  # type: ignore[arg-type]


def of(
    settings: ApiSettings,
    *,
    client: tuple[str, int] | None = ("10.1.2.3", 5),
    server: tuple[str, int | None] = ("127.0.0.1", 8080),
    headers: list[tuple[str, str]] | None = None,
) -> str:
    scope: dict[str, Any] = {
        "type": "http",
        "scheme": "http",
        "client": client,
        "server": server,
        "headers": [(name.lower().encode(), text.encode()) for name, text in headers or []],
    }
    return base_url(HTTPConnection(scope), settings)


@pytest.mark.parametrize(
    ("server", "url"),
    [
        (("127.0.0.1", 8080), "http://127.0.0.1:8080"),
        (("::1", 8080), "http://[::1]:8080"),
        (("/run/sluice.sock", None), "http:///run/sluice.sock"),
    ],
)
def test_without_a_host_the_address_of_the_socket_counts(
    server: tuple[str, int | None], url: str
) -> None:
    assert of(ApiSettings(), server=server) == url
    assert of(ApiSettings(), server=server, headers=[("Host", "[::1]:80")]) == "http://[::1]:80"


@pytest.mark.parametrize("text", ["https://pub.example/sluice", " https://pub.example/sluice// "])
def test_the_public_url_comes_first_and_has_no_slash_at_its_end(text: str) -> None:
    settings = ApiSettings(public_url=text, trusted_proxies="0.0.0.0/0")  # type: ignore[arg-type]
    assert of(settings, headers=[("Host", "a"), ("X-Forwarded-Host", "b")]) == (
        "https://pub.example/sluice"
    )


@pytest.mark.parametrize(
    ("headers", "url"),
    [
        ([], "http://inner"),
        ([("X-Forwarded-Proto", "https")], "https://inner"),
        ([("X-Forwarded-Host", "pub.example:8443")], "http://pub.example:8443"),
        ([("X-Forwarded-Host", "[2001:db8::1]:8443")], "http://[2001:db8::1]:8443"),
        ([("X-Forwarded-Prefix", "/sluice/")], "http://inner/sluice"),
        ([("X-Forwarded-Proto", "http, HTTPS")], "https://inner"),
        ([("X-Forwarded-Host", "evil"), ("X-Forwarded-Host", "pub.example")], "http://pub.example"),
        ([("Forwarded", 'for=1.2.3.4;host="pub.example:1";proto=https')], "https://pub.example:1"),
        ([("Forwarded", "host=evil, Host=pub.example")], "http://pub.example"),
        ([("Forwarded", "proto=http"), ("X-Forwarded-Proto", "https")], "https://inner"),
        ([("X-Forwarded-Proto", "javascript")], "http://inner"),
        ([("X-Forwarded-Host", "a/b")], "http://inner"),
        ([("X-Forwarded-Prefix", "//evil.example")], "http://inner"),
        ([("X-Forwarded-Prefix", "/")], "http://inner"),
    ],
)
def test_a_trusted_proxy_tells_scheme_host_and_prefix(
    headers: list[tuple[str, str]], url: str
) -> None:
    headers = [("Host", "inner"), *headers]
    assert of(BEHIND, headers=headers) == url
    assert of(BEHIND, headers=headers, client=("::ffff:10.0.0.1", 5)) == url
    assert of(BEHIND, headers=headers, client=("fd00::1", 5)) == url


@pytest.mark.parametrize("client", [("192.0.2.1", 5), ("::1", 5), ("", 0), None])
def test_nobody_else_is_believed(client: tuple[str, int] | None) -> None:
    headers = [("Host", "inner"), ("X-Forwarded-Proto", "https"), ("Forwarded", "host=evil")]
    assert of(BEHIND, headers=headers, client=client) == "http://inner"
    assert of(ApiSettings(), headers=headers) == "http://inner"
