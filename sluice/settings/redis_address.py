"""The address of a Redis: all that a client needs, checked before anything connects.

redis-py and Celery would read a URL in two ways, and quote parts of a password in their errors.
Neither gets the URL: `sluice/redisio/connection.py` makes every client from a `RedisAddress`.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from sluice.settings.sentinels import Sentinels, take_from

Verify = Literal["full", "ca", "none"]

_FORM = (
    "redis://user:password@host:port/database, rediss:// for TLS,"
    " or redis+sentinel://user:password@host:port,host:port/master/database"
)
_PERCENT = (
    "write special characters of the password percent-encoded:"
    " / as %2F, ? as %3F, # as %23, @ as %40, % as %25; or leave it out, and set it as {}"
)
#: The TLS options of a URL, as redis-py and Celery spell them, and the settings that say the same.
_FILES = {"ssl_ca_certs": "ca_file", "ssl_certfile": "cert_file", "ssl_keyfile": "key_file"}
_OPTIONS = {"db", "ssl_cert_reqs", "ssl_check_hostname", *_FILES}
_CERT_REQS = ("none", "optional", "required")


@dataclass(frozen=True)
class Access:
    """The settings beside the URL. Each is given there or in the URL, and None where it isn't."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify: Verify | None = None


@dataclass(frozen=True)
class Tls:
    """The TLS of a connection. The files are PEM."""

    ca_file: str | None = None
    """Authorities to trust, beside those of the machine."""
    cert_file: str | None = None
    """The client's certificate."""
    key_file: str | None = None
    """The key of the client's certificate. None: the key is in `cert_file`."""
    verify: Verify = "full"
    """The server's certificate is checked with its host name, without it (`ca`), or not at all."""


@dataclass(frozen=True)
class RedisAddress:
    """Place, user and time-outs of one Redis. No text of an address shows the password."""

    host: str = "127.0.0.1"
    port: int = 6379
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None
    sentinels: Sentinels | None = None
    """Sentinels that know host and port; None if these are known."""
    connect_timeout_s: float = 5.0
    timeout_s: float = 10.0

    @classmethod
    def parse(cls, url: str, beside: str = "a setting of its own") -> Self:
        """The address that a URL says.

        Raises ValueError with what to change, and with no part of the password.
        `beside` is the variable for a password beside the URL, which the error names.
        """
        url, sentinels = take_from(url)
        parts = _split(url, beside)
        options = {
            name: values[-1]
            for name, values in parse_qs(parts.query, keep_blank_values=True).items()
        }
        if unknown := sorted(set(options) - _OPTIONS):
            raise ValueError(
                f"has the unknown option {unknown[0]!r}; there is {', '.join(sorted(_OPTIONS))}"
            )
        return cls(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 6379,
            database=_database(parts.path.strip("/") or options.pop("db", "")),
            username=unquote(parts.username or "") or None,
            password=unquote(parts.password or "") or None,
            tls=_tls(parts.scheme, options),
            sentinels=sentinels,
        )

    def with_access(self, access: Access, prefix: str) -> Self:
        """Return the address with the settings beside the URL.

        `prefix` begins the names of their variables.

        Raises ValueError, which names a variable, where it contradicts the URL or another one.
        """
        tls = self.tls or Tls()
        for name in ("ca_file", "cert_file", "key_file", "verify"):
            if self.tls is None and getattr(access, name):
                raise ValueError(
                    f"{prefix}{name.upper()}: is for TLS, and the URL does not begin with rediss://"
                )
        if access.verify and tls.verify not in ("full", access.verify):
            raise ValueError(f"{prefix}VERIFY: differs from the URL; give it once")
        merged = {
            name: _once(getattr(of, name), getattr(access, name), f"{prefix}{name.upper()}")
            for of, names in (
                (self, ("username", "password")),
                (tls, ("ca_file", "cert_file", "key_file")),
            )
            for name in names
        }
        if merged["key_file"] and not merged["cert_file"]:
            raise ValueError(f"{prefix}KEY_FILE: is the key of {prefix}CERT_FILE, which is missing")
        username, password = merged.pop("username"), merged.pop("password")
        if self.tls:
            tls = Tls(**merged, verify=access.verify or tls.verify)
        return replace(self, username=username, password=password, tls=tls if self.tls else None)


def existing_file(path: str) -> str:
    """Return `path`. Raises ValueError if there is no such file."""
    if not Path(path).is_file():
        raise ValueError(f"there is no file {path}")
    return path


def _split(url: str, beside: str) -> SplitResult:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("redis", "rediss"):
        raise ValueError(f"must be {_FORM}")
    authority = rest.partition("/")[0].partition("?")[0].partition("#")[0]
    percent = _PERCENT.format(beside)
    if ("@" in rest and "@" not in authority) or "#" in rest:
        raise ValueError(f"has a password with special characters; {percent}")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(f"has no port that is a number; must be {_FORM}; {percent}") from None
    return parts


def _database(path: str) -> int:
    if path and not path.isdecimal():
        raise ValueError("has a path that is no number of a database, such as /0")
    return int(path or 0)


def _tls(scheme: str, options: dict[str, str]) -> Tls | None:
    if scheme == "redis":
        if options:
            raise ValueError(f"has the option {min(options)!r}, which needs rediss://")
        return None
    files = {
        name: existing_file(options[option]) for option, name in _FILES.items() if option in options
    }
    return Tls(**files, verify=_verify(options))


def _verify(options: dict[str, str]) -> Verify:
    given = options.get("ssl_cert_reqs", "required")
    # Celery's spelling is Python's, CERT_REQUIRED.
    required = given.lower().removeprefix("cert_")
    if required not in _CERT_REQS:
        raise ValueError(f"has ssl_cert_reqs={given}; must be one of {', '.join(_CERT_REQS)}")
    check = options.get("ssl_check_hostname", "true").lower()
    if check not in ("true", "1", "yes", "false", "0", "no"):
        raise ValueError("has an ssl_check_hostname that is neither true nor false")
    if required == "none":
        return "none"
    # A client checks a certificate that is optional: a server always has one.
    return "full" if check in ("true", "1", "yes") else "ca"


def _once(in_url: str | None, in_setting: str | None, variable: str) -> str | None:
    if in_url and in_setting and in_url != in_setting:
        raise ValueError(f"{variable}: differs from the one in the URL; give it once")
    return in_setting or in_url
