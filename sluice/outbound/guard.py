"""The guard of outgoing requests: addresses inside the network are refused.

A host name is looked up once, and its addresses are judged. `sluice/outbound/transport.py` then
connects to a permitted address by number. A DNS answer that changes later has no effect.
"""

import socket
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpx

from sluice.errors import AddressNotAllowed, InvalidInput

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Lookup = Callable[[str], Sequence[str]]

# IANA's registries of special-purpose addresses, without the blocks that are publicly reachable.
_REFUSED_V4 = [
    IPv4Network("0.0.0.0/8"),
    IPv4Network("10.0.0.0/8"),
    IPv4Network("100.64.0.0/10"),
    IPv4Network("127.0.0.0/8"),
    IPv4Network("168.63.129.16/32"),  # Azure's metadata, DNS and health: not in any registry
    IPv4Network("169.254.0.0/16"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.0.2.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv4Network("192.168.0.0/16"),
    IPv4Network("198.18.0.0/15"),
    IPv4Network("198.51.100.0/24"),
    IPv4Network("203.0.113.0/24"),
    IPv4Network("224.0.0.0/3"),
]
_GLOBAL_V6 = IPv6Network("2000::/3")  # all others are local, multicast, mapped or unassigned
_TEREDO = IPv6Network("2001::/32")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_REFUSED_V6 = [
    IPv6Network("2001::/23"),
    IPv6Network("2001:db8::/32"),
    _SIX_TO_FOUR,
    IPv6Network("3fff::/20"),
]
# IPv6 networks with an IPv4 address in their last 32 bits: mapped addresses, and both of NAT64's
# prefixes. RFC 6052 allows a prefix of 96 bits in the second one, which is for local use.
_V4_LAST = [
    IPv6Network("::ffff:0:0/96"),
    IPv6Network("64:ff9b::/96"),
    IPv6Network("64:ff9b:1::/48"),
]

# `getaddrinfo` cannot be stopped: a DNS server that hangs blocks at most so many threads.
_LOOKUP_THREADS = 16


def look_up(host: str) -> list[str]:
    """The addresses of `host`, in the system's order. Raises OSError.

    `host` may be an address itself, in any spelling.
    """
    # Python's own encoding of a str raises UnicodeError for some invalid names; bytes do not.
    return _numeric(socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM))


class Guard:
    """Judges addresses, URLs and host names. Thread-safe."""

    def __init__(self, allow: Iterable[Network] = (), lookup: Lookup = look_up) -> None:
        """`allow` are networks that are permitted beside the public ones."""
        self._allow = tuple(allow)
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="lookup")

    def permits(self, address: Address) -> bool:
        """True if requests may reach `address`, and any IPv4 address that it contains."""
        allowed = _is_public(address) or any(address in network for network in self._allow)
        return allowed and all(map(self.permits, _embedded(address)))

    def check_url(self, url: str | httpx.URL) -> None:
        """Judge a URL without looking up its host name.

        Raises InvalidInput or AddressNotAllowed. Messages do not contain the URL's query.
        """
        try:
            url = httpx.URL(url)
        except httpx.InvalidURL:
            raise InvalidInput(
                "the URL is not valid; give one such as https://example.com/path"
            ) from None
        if url.scheme not in {"http", "https"} or not url.raw_host:
            raise InvalidInput("the URL must begin with http:// or https:// and name a host")
        if url.userinfo:
            raise InvalidInput("the URL must not hold a user name or a password")
        if url.port is not None and not 0 < url.port < 2**16:
            raise InvalidInput("the URL's port must be from 1 to 65535")
        try:
            literal = socket.getaddrinfo(
                url.raw_host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
        except OSError:
            return  # a name, which is looked up when a connection is made
        self._permitted(url.raw_host.decode("ascii"), _numeric(literal))

    def addresses(self, host: str) -> Future[list[str]]:
        """The permitted addresses of `host`, by number.

        The future raises AddressNotAllowed if none is permitted, or OSError.
        """
        return self._threads.submit(lambda: self._permitted(host, self._lookup(host)))

    def _permitted(self, host: str, addresses: Sequence[str]) -> list[str]:
        permitted = [address for address in addresses if self.permits(ip_address(address))]
        if not permitted:
            raise AddressNotAllowed(
                f"requests may not be sent to {host!r}; "
                "use a public host, or have the operator allow it (SLUICE_NETGUARD_ALLOW)"
            )
        return permitted


def _numeric(
    answers: Sequence[tuple[int, int, int, str, tuple[str | int | bytes, ...]]],
) -> list[str]:
    """The addresses in the answers of `getaddrinfo`."""
    return [str(sockaddr[0]) for *_, sockaddr in answers]


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    return address in _GLOBAL_V6 and not any(address in network for network in _REFUSED_V6)


def _embedded(address: Address) -> list[IPv4Address]:
    """The IPv4 addresses that packets to `address` may be forwarded to."""
    if isinstance(address, IPv4Address):
        return []
    if address in _SIX_TO_FOUR:
        return [IPv4Address(address.packed[2:6])]
    if address in _TEREDO:  # the server, and the client with inverted bits: RFC 4380, section 4
        return [
            IPv4Address(address.packed[4:8]),
            IPv4Address(bytes(byte ^ 0xFF for byte in address.packed[12:])),
        ]
    if any(address in network for network in _V4_LAST):
        return [IPv4Address(address.packed[12:])]
    return []
