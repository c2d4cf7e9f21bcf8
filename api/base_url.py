"""The URL at which a client reaches the api, behind proxies too."""

import re
from ipaddress import IPv6Address, ip_address

from starlette.requests import HTTPConnection

from sluice.settings import ApiSettings

_HOST = re.compile(r"([A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")


def base_url(request: HTTPConnection, settings: ApiSettings) -> str:
    """The base of all URLs in an answer, without a slash at its end.

    `SLUICE_API_PUBLIC_URL` comes first. The headers of a trusted proxy come next, and then the
    address that the request was sent to.
    """
    if settings.public_url:
        return settings.public_url
    scope = request.scope
    scheme = scope["scheme"]
    host = request.headers.get("host") or _address(scope["server"])
    prefix = scope.get("root_path", "")
    if settings.trusted_proxies and _is_trusted(scope.get("client"), settings):
        forwarded = _forwarded(request)
        scheme = forwarded.get("proto", scheme)
        host = forwarded.get("host", host)
        prefix = forwarded.get("prefix", prefix)
    return f"{scheme}://{host}{prefix}"


def _address(server: tuple[str, int | None]) -> str:
    """The host and port of a socket. An IPv6 address has brackets in a URL (RFC 3986)."""
    host, port = server
    host = f"[{host}]" if ":" in host else host
    return host if port is None else f"{host}:{port}"


def _is_trusted(client: tuple[str, int] | None, settings: ApiSettings) -> bool:
    try:
        address = ip_address(client[0] if client else "")
    except ValueError:
        return False  # a Unix socket
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped  # an IPv4 client of a socket for both families
    return any(address in network for network in settings.trusted_proxies)


def _forwarded(request: HTTPConnection) -> dict[str, str]:
    """The scheme, host and prefix that a trusted proxy forwards.

    Of several values the last counts: a proxy that appends puts its own behind its client's.
    `Forwarded` (RFC 7239) fills in for a missing X-Forwarded-Proto or -Host.
    """
    last = ",".join(request.headers.getlist("forwarded")).rpartition(",")[2]
    pairs = (pair.partition("=") for pair in last.split(";"))
    values = {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}
    for name in ("proto", "host", "prefix"):
        if listed := ",".join(request.headers.getlist(f"x-forwarded-{name}")):
            values[name] = listed.rpartition(",")[2].strip()
    values["proto"] = values.get("proto", "").lower()
    values["prefix"] = values.get("prefix", "").rstrip("/")
    grammar = {"proto": re.compile("https?"), "host": _HOST, "prefix": _PREFIX}
    return {
        name: value
        for name, value in values.items()
        if name in grammar and grammar[name].fullmatch(value)
    }
