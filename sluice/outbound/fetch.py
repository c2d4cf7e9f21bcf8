"""Images that were submitted by URL: fetched within bounds of time, size and redirects, from where `netguard` permits."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing

import httpx

from sluice.errors import ImageNotFetched, ImageTooLarge, ImageUnreachable
from sluice.outbound.guard import Guard, transport

_HEADERS = {"User-Agent": "sluice", "Accept": "*/*", "Accept-Encoding": "identity"}
_PASSING = {408, 425, 429}  # beside 5xx: what a server may answer otherwise in a moment


class Fetcher:
    """Thread-safe, and holds no connection between fetches. `ssl_context` is for authorities other than the public ones."""

    def __init__(
        self,
        guard: Guard,
        *,
        max_bytes: int,
        timeout_s: float,
        max_redirects: int,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._guard = guard
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._max_redirects = max_redirects
        self._ssl_context = ssl_context or httpx.create_ssl_context()

    def get(self, url: str) -> bytes:
        """The bytes at `url`, after at most `timeout_s` seconds for all of it.

        Raises ImageUnreachable for what may pass; ImageTooLarge, AddressNotAllowed, ImageNotFetched or InvalidInput for what won't.
        Messages name the host and never the path or the query, which may hold secrets.
        """
        self._guard.check_url(url)
        target = httpx.URL(url)
        host = target.raw_host.decode("ascii")
        with transport(self._guard, time.monotonic() + self._timeout_s, self._ssl_context) as road:
            try:
                for _ in range(self._max_redirects + 1):
                    with closing(
                        road.handle_request(httpx.Request("GET", target, headers=_HEADERS))
                    ) as response:
                        if not response.has_redirect_location:
                            return self._body(response, host)
                        target = _next(target, response.headers["Location"], host)
            except httpx.TransportError as error:
                raise _translated(error, host) from error
        raise ImageNotFetched(
            f"{host!r} redirects more than {self._max_redirects} times; give the URL where that ends"
        )

    def _body(self, response: httpx.Response, host: str) -> bytes:
        status = response.status_code
        if status >= 500 or status in _PASSING:
            raise ImageUnreachable(f"{host!r} answered {status}")
        if not response.is_success:
            raise ImageNotFetched(
                f"{host!r} answered {status}; give a URL that answers with the image"
            )
        if response.headers.get("Content-Encoding", "identity") != "identity":
            # Decoded, a few bytes could fill the memory before they are counted.
            raise ImageNotFetched(f"{host!r} sent the image compressed, which was not asked for")
        self._check_size(int(response.headers.get("Content-Length", 0)), host)
        body = bytearray()
        for part in response.iter_raw():
            body += part
            self._check_size(len(body), host)
        return bytes(body)

    def _check_size(self, size: int, host: str) -> None:
        if size > self._max_bytes:
            raise ImageTooLarge(f"the image at {host!r} has more than {self._max_bytes} bytes")


def _next(target: httpx.URL, location: str, host: str) -> httpx.URL:
    try:
        found = target.join(location)
    except httpx.InvalidURL:
        raise ImageNotFetched(f"{host!r} redirects to what is not a URL") from None
    if target.scheme == "https" and found.scheme == "http":
        raise ImageNotFetched(
            f"{host!r} redirects from https to http; give a URL that stays with https"
        )
    return found


def _translated(error: httpx.TransportError, host: str) -> ImageUnreachable | ImageNotFetched:
    for reason in _reasons(error):
        if isinstance(reason, socket.gaierror) and reason.errno in {
            socket.EAI_NONAME,
            socket.EAI_NODATA,
        }:
            return ImageNotFetched(f"there is no host {host!r}")
        if isinstance(reason, ssl.SSLCertVerificationError):
            return ImageNotFetched(
                f"the certificate of {host!r} is not valid: {reason.verify_message}"
            )
    if isinstance(error, httpx.TimeoutException):
        return ImageUnreachable(f"the image at {host!r} did not arrive in time")
    return ImageUnreachable(f"the connection to {host!r} failed")


def _reasons(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it came from; httpcore takes away the causes but leaves the contexts."""
    while error:
        yield error
        error = error.__cause__ or error.__context__
