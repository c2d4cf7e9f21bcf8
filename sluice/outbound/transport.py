"""HTTP transports that connect only to addresses that a guard permits.

TLS still names the host and checks its certificate. Proxies of the environment are not used.
"""

import asyncio
import ssl
import time
from collections.abc import Iterable, Iterator
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpcore
import httpx

from sluice.outbound.guard import Guard

SocketOptions = Iterable[httpcore.SOCKET_OPTION]

_CONNECT_TIMEOUT_S = 30.0  # for callers that set no time-out
_NO_LOOKUP = "the host's name was not looked up in time"
_NO_ADDRESS = "the host's name leads to no address"


def transport(
    guard: Guard, until: float, ssl_context: ssl.SSLContext | None = None
) -> httpx.BaseTransport:
    """A transport for one task: every operation on it ends at `until`, of `time.monotonic()`.

    httpx's own time-outs are per read, so a slow server could hold a thread for days.
    `ssl_context` replaces the public certificate authorities.
    Requests raise AddressNotAllowed, InvalidInput or httpx's errors.
    """
    return _Transport(guard, until, ssl_context or httpx.create_ssl_context())


def async_client(
    guard: Guard,
    *,
    timeout_s: float,
    limits: httpx.Limits | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> httpx.AsyncClient:
    """A client for asyncio, without redirects and cookies, which keeps connections for reuse.

    `timeout_s` is for a connection and for each read; bound a request by `asyncio.timeout`.
    Of the environment only SSL_CERT_FILE and SSL_CERT_DIR are used.
    Requests raise AddressNotAllowed, InvalidInput or httpx's errors.
    """
    return httpx.AsyncClient(
        transport=_AsyncTransport(
            guard, limits or httpx.Limits(), ssl_context or httpx.create_ssl_context()
        ),
        timeout=timeout_s,
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
    )


class _Transport(httpx.HTTPTransport):
    # httpx has no argument for the pool's network backend, so `_pool` is set here.
    # `super().__init__` is not called: if httpx renames `_pool`, requests fail instead of
    # using a pool without a guard.
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
    """Connects to permitted addresses until `until`. Unix sockets are not supported."""

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
        until = min(self._until, time.monotonic() + (timeout or _CONNECT_TIMEOUT_S))
        lookup = self._guard.addresses(host)
        try:
            addresses = lookup.result(_remaining_s(until, httpcore.ConnectTimeout))
        except TimeoutError as error:
            lookup.cancel()
            raise httpcore.ConnectTimeout(_NO_LOOKUP) from error
        except OSError as error:
            raise httpcore.ConnectError(_NO_ADDRESS) from error
        failure: Exception = httpcore.ConnectError(_NO_ADDRESS)
        for address, share_s in _time_shares(addresses, until):
            try:
                stream = self._tcp.connect_tcp(
                    address, port, share_s, local_address, socket_options
                )
                return _Stream(stream, self._until)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class _Stream(httpcore.NetworkStream):
    """A stream whose every operation ends at `until`."""

    def __init__(self, stream: httpcore.NetworkStream, until: float) -> None:
        self._stream = stream
        self._until = until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _remaining_s(self._until, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _remaining_s(self._until, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        remaining_s = _remaining_s(self._until, httpcore.ConnectTimeout)
        stream = self._stream.start_tls(ssl_context, server_hostname, remaining_s)
        return _Stream(stream, self._until)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


class _AsyncBackend(httpcore.AsyncNetworkBackend):
    """Connects to permitted addresses. Unix sockets are not supported."""

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
        until = time.monotonic() + (timeout or _CONNECT_TIMEOUT_S)
        try:
            addresses = await asyncio.wait_for(
                asyncio.wrap_future(self._guard.addresses(host)),
                _remaining_s(until, httpcore.ConnectTimeout),
            )
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(_NO_LOOKUP) from error
        except OSError as error:
            raise httpcore.ConnectError(_NO_ADDRESS) from error
        failure: Exception = httpcore.ConnectError(_NO_ADDRESS)
        for address, share_s in _time_shares(addresses, until):
            try:
                return await self._tcp.connect_tcp(
                    address, port, share_s, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


def _time_shares(addresses: list[str], until: float) -> Iterator[tuple[str, float]]:
    """Each address with its share of the remaining seconds: a silent one leaves time for others."""
    for waiting, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
        yield address, _remaining_s(until, httpcore.ConnectTimeout) / waiting


def _remaining_s(until: float, error: type[httpcore.TimeoutException]) -> float:
    """The seconds until `until`. Raises `error` if there are none."""
    remaining_s = until - time.monotonic()
    if remaining_s <= 0:
        raise error("the time is over")
    return remaining_s
