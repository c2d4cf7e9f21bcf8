"""The Sentinels that know which Redis is the primary, as a URL names them."""

from dataclasses import dataclass, field

_PORT = 26379


@dataclass(frozen=True)
class Sentinels:
    """The Sentinels to ask for the primary. No text of them shows the password."""

    places: tuple[tuple[str, int], ...]
    """Host and port of each Sentinel."""
    master: str
    """The name that the Sentinels know the primary by."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)


def take_from(url: str) -> tuple[str, Sentinels | None]:
    """Return the URL without its Sentinels, and the Sentinels if it names any.

    The form is redis+sentinel://user:password@host:port,host:port/master/database.
    Raises ValueError with what to change, and with no part of the password.
    """
    scheme, _, rest = url.partition("://")
    if not scheme.endswith("+sentinel"):
        return url, None
    scheme = scheme.removesuffix("+sentinel")
    place, question, options = rest.partition("?")
    authority, _, path = place.partition("/")
    if ("@" in rest and "@" not in authority) or "#" in rest:
        return f"{scheme}://{rest}", None  # a raw password, which the caller refuses
    login, at, hosts = authority.rpartition("@")
    master, _, database = path.partition("/")
    if not master:
        raise ValueError("names no master: redis+sentinel://host:port,host:port/master/database")
    places = tuple(_place(host) for host in hosts.split(",") if host)
    if not places:
        raise ValueError("names no Sentinel: redis+sentinel://host:port,host:port/master/database")
    return f"{scheme}://{login}{at}sentinel/{database}{question}{options}", Sentinels(
        places, master
    )


def _place(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):  # no port, or an IPv6 address alone
        host, port = text, str(_PORT)
    if not port.isdecimal():
        raise ValueError("has a Sentinel whose port is no number")
    return host.removeprefix("[").removesuffix("]"), int(port)
