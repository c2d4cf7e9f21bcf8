"""The URL of a Redis, checked before anything connects.

redis-py and Celery read the same URL in two ways, and quote parts of a password in their errors.
"""

from urllib.parse import parse_qs, urlsplit

#: The options that redis-py and Celery both understand.
_OPTIONS = {
    "db",
    "ssl_ca_certs",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
}
_CERT_REQS = ("none", "optional", "required")
_FORM = "redis://user:password@host:port/database, or rediss:// for TLS"


def check(url: str) -> str:
    """Return `url`. Raises ValueError with what to change, and with no part of the password."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("redis", "rediss"):
        raise ValueError(f"must be {_FORM}")
    authority = rest.partition("/")[0].partition("?")[0].partition("#")[0]
    if ("@" in rest and "@" not in authority) or "#" in rest:
        raise ValueError(
            "has a password with special characters; write them percent-encoded:"
            " / as %2F, ? as %3F, # as %23, @ as %40, % as %25"
        )
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(
            f"has no port that is a number; must be {_FORM}."
            " Special characters of a password are percent-encoded, such as / as %2F"
        ) from None
    _check_database(parts.path.strip("/"))
    _check_options(parse_qs(parts.query, keep_blank_values=True))
    return url


def _check_database(path: str) -> None:
    if path and not path.isdecimal():
        raise ValueError("has a path that is no number of a database, such as /0")


def _check_options(options: dict[str, list[str]]) -> None:
    if unknown := sorted(set(options) - _OPTIONS):
        raise ValueError(
            f"has the unknown option {unknown[0]!r}; there is {', '.join(sorted(_OPTIONS))}"
        )
    required = options.get("ssl_cert_reqs", ["required"])[-1]
    if required not in _CERT_REQS:
        raise ValueError(f"has ssl_cert_reqs={required}; must be one of {', '.join(_CERT_REQS)}")
