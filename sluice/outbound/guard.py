"""Which addresses an outgoing request may reach, enforced on the address that it connects to.

A name is looked up once, its addresses are judged, and the connection is made to one that passed, by number: an answer that
changes later changes nothing. TLS still names the host and checks its certificate. Proxies of the environment are not used.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpcore
import httpx

from sluice.errors import AddressNotAllowed, InvalidInput

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Lookup = Callable[[str], Sequence[str]]
SocketOptions = Iterable[httpcore.SOCKET_OPTION]

# The IANA registries of special-purpose addresses, without the few blocks in them that anybody may reach.
_REFUSED_V4 = [
    IPv4Network("0.0.0.0/8"),
    IPv4Network("10.0.0.0/8"),
    IPv4Network("100.64.0.0/10"),
    IPv4Network("127.0.0.0/8"),
    IPv4Network(
        "168.63.129.16/32"
    ),  # Azure's metadata, DNS and health: in form an address like any other
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
_GLOBAL_V6 = IPv6Network(
    "2000::/3"
)  # all the rest is local, multicast, mapped, translated or not given to anybody
_TEREDO = IPv6Network("2001::/32")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_REFUSED_V6 = [
    IPv6Network("2001::/23"),
    IPv6Network("2001:db8::/32"),
    _SIX_TO_FOUR,
    IPv6Network("3fff::/20"),
]
# Mapped, and NAT64's two prefixes; the second, for local use, in the form that RFC 6052 gives a prefix of 96 bits.
_V4_LAST = [
    IPv6Network("::ffff:0:0/96"),
    IPv6Network("64:ff9b::/96"),
    IPv6Network("64:ff9b:1::/48"),
]

_LOOKUPS = 16  # side by side; getaddrinfo can't be stopped, so this bounds the threads that servers of names hold up
_CONNECT_S = 30.0  # where a caller sets no time-out


def look_up(host: str) -> list[str]:
    """The addresses of `host`, which may be one itself in any spelling, in the system's order. Raises OSError."""
    # As bytes: Python's own encoding of a str raises UnicodeError for names that are merely wrong.
    return _addresses(socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM))


class Guard:
    """Thread-safe. `allow` are the networks that the operator allows beside the public ones; `lookup` gives a name's addresses."""

    def __init__(self, allow: Iterable[Network] = (), lookup: Lookup = look_up) -> None:
        self._allow = tuple(allow)
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="lookup")

    def permits(self, address: Address) -> bool:
        """Whether a request may go to `address`, and to the IPv4 address within it where it holds one."""
        allowed = _public(address) or any(address in network for network in self._allow)
        return allowed and all(map(self.permits, _embedded(address)))

    def check_url(self, url: str | httpx.URL) -> None:
        """Judge what can be judged without looking up a name. Raises InvalidInput or AddressNotAllowed, without the URL's query."""
        try:
            url = httpx.URL(url)
        except httpx.InvalidURL:
            raise InvalidInput(
                "this is not a URL; it must be like https://example.com/path"
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
            return  # a name
        self._judge(url.raw_host.decode("ascii"), _addresses(literal))

    def addresses(self, host: str) -> Future[list[str]]:
        """The addresses of `host`, by number, less what is refused. It raises AddressNotAllowed where none is left, or OSError."""
        return self._threads.submit(lambda: self._judge(host, self._lookup(host)))

    def _judge(self, host: str, found: Sequence[str]) -> list[str]:
        passed = [address for address in found if self.permits(ip_address(address))]
        if not passed:
            raise AddressNotAllowed(
                f"requests may not be sent to {host!r}; use a public host, or have the operator allow it (SLUICE_NETGUARD_ALLOW)"
            )
        return passed


def transport(
    guard: Guard, until: float, ssl_context: ssl.SSLContext | None = None
) -> httpx.BaseTransport:
    """For one piece of work: whatever is sent or received over it ends at `until`, of time.monotonic(), with a time-out.

    httpx's own time-outs count for each read, so that a server which drips could hold a thread for days. To check certificates
    by other than the public authorities, give `ssl_context`. Requests raise AddressNotAllowed, InvalidInput or httpx's errors.
    """
    return _Transport(guard, until, ssl_context or httpx.create_ssl_context())


def async_transport(
    guard: Guard, limits: httpx.Limits | None = None, ssl_context: ssl.SSLContext | None = None
) -> httpx.AsyncBaseTransport:
    """Connections are kept and used again, within `limits` where given. For asyncio; bound a whole request by `asyncio.timeout`."""
    return _AsyncTransport(
        guard, limits or httpx.Limits(), ssl_context or httpx.create_ssl_context()
    )


def async_client(
    guard: Guard,
    *,
    timeout_s: float,
    limits: httpx.Limits | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> httpx.AsyncClient:
    """A client that follows no redirects, keeps no cookies and takes nothing from the environment but SSL_CERT_FILE and its like.

    `timeout_s` counts for a connection and for each read. Requests raise as `transport` says.
    """
    return httpx.AsyncClient(
        transport=async_transport(guard, limits, ssl_context),
        timeout=timeout_s,
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
    )


class _Transport(httpx.HTTPTransport):
    # httpx has no argument for the pool's network backend. `super().__init__` is left out: should httpx ever rename `_pool`,
    # requests fail, rather than go by a pool that knows no guard.
    def __init__(self, guard: Guard, until: float, ssl_context: ssl.SSLContext) -> None:
        self._guard = guard
        self._pool = httpcore.ConnectionPool(ssl_context, network_backend=_Backend(guard, until))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._guard.check_url(request.url)
        return super().handle_request(request)


class _AsyncTransport(httpx.AsyncHTTPTransport):
    def __init__(self, guard: Guard, limits: httpx.Limits, ssl_context: ssl.SSLContext) -> None:
        self._guard = guard
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_AsyncBackend(guard),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._guard.check_url(request.url)
        return await super().handle_async_request(request)


class _Backend(httpcore.NetworkBackend):
    """Connects to what the guard passes, until `until`. Unix sockets raise NotImplementedError, as in the base."""

    def __init__(self, guard: Guard, until: float) -> None:
        self._guard = guard
        self._until = until
        self._tcp = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: SocketOptions | None = None,
    ) -> httpcore.NetworkStream:
        until = min(self._until, time.monotonic() + (timeout or _CONNECT_S))
        looked_up = self._guard.addresses(host)
        try:
            addresses = looked_up.result(_left(until, httpcore.ConnectTimeout))
        except TimeoutError as error:
            looked_up.cancel()
            raise httpcore.ConnectTimeout("the host's name was not looked up in time") from error
        except OSError as error:
            raise httpcore.ConnectError("the host's name leads to no address") from error
        failure: Exception = httpcore.ConnectError("no address")
        for address, share_s in _shares(addresses, until):
            try:
                stream = self._tcp.connect_tcp(
                    address, port, share_s, local_address, socket_options
                )
                return _Stream(stream, self._until)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class _Stream(httpcore.NetworkStream):
    """A stream on which every wait ends at `until`."""

    def __init__(self, stream: httpcore.NetworkStream, until: float) -> None:
        self._stream = stream
        self._until = until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._until, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._until, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left_s = _left(self._until, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left_s), self._until)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


class _AsyncBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._tcp = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: SocketOptions | None = None,
    ) -> httpcore.AsyncNetworkStream:
        until = time.monotonic() + (timeout or _CONNECT_S)
        try:
            addresses = await asyncio.wait_for(
                asyncio.wrap_future(self._guard.addresses(host)),
                _left(until, httpcore.ConnectTimeout),
            )
        except TimeoutError as error:
            raise httpcore.ConnectTimeout("the host's name was not looked up in time") from error
        except OSError as error:
            raise httpcore.ConnectError("the host's name leads to no address") from error
        failure: Exception = httpcore.ConnectError("no address")
        for address, share_s in _shares(addresses, until):
            try:
                return await self._tcp.connect_tcp(
                    address, port, share_s, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


def _addresses(
    found: Sequence[tuple[int, int, int, str, tuple[str | int | bytes, ...]]],
) -> list[str]:
    return [str(sockaddr[0]) for *_, sockaddr in found]


def _public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    return address in _GLOBAL_V6 and not any(address in network for network in _REFUSED_V6)


def _embedded(address: Address) -> list[IPv4Address]:
    """The IPv4 addresses that packets to `address` may end up at."""
    if isinstance(address, IPv4Address):
        return []
    if address in _SIX_TO_FOUR:
        return [IPv4Address(address.packed[2:6])]
    if address in _TEREDO:  # the server, and the client with every bit turned: RFC 4380, section 4
        return [
            IPv4Address(address.packed[4:8]),
            IPv4Address(bytes(byte ^ 0xFF for byte in address.packed[12:])),
        ]
    if any(address in network for network in _V4_LAST):
        return [IPv4Address(address.packed[12:])]
    return []


def _shares(addresses: list[str], until: float) -> Iterator[tuple[str, float]]:
    """Each address with the seconds that it may take: one that is silent leaves the others their share."""
    for waiting, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
        yield address, _left(until, httpcore.ConnectTimeout) / waiting


def _left(until: float, error: type[httpcore.TimeoutException]) -> float:
    """The seconds left. Raises `error` where there are none."""
    left_s = until - time.monotonic()
    if left_s <= 0:
        raise error("the time is over")
    return left_s
