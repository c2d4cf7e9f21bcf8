"""Fetching of images that were submitted by URL, within bounds of time, size and redirects."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing

import httpx

from sluice.content_coding import Unpacker, compressions
from sluice.errors import ImageNotFetched, ImageTooLarge, ImageUnreachable
from sluice.outbound.guard import Guard
from sluice.outbound.transport import transport

_HEADERS = {"User-Agent": "sluice", "Accept": "*/*", "Accept-Encoding": "identity"}
_TEMPORARY = {408, 425, 429}  # statuses beside 5xx that may be different in a moment


class Fetcher:
    """Fetches images. Thread-safe; keeps no connection between fetches."""

    def __init__(
        self,
        guard: Guard,
        *,
        max_bytes: int,
        timeout_s: float,
        max_redirects: int,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """`ssl_context` replaces the public certificate authorities."""
        self._guard = guard
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._max_redirects = max_redirects
        self._ssl_context = ssl_context or httpx.create_ssl_context()

    def get(self, url: str) -> bytes:
        """The bytes at `url`, within `timeout_s` seconds for the whole fetch.

        Raises ImageUnreachable if a later fetch may succeed. Otherwise raises ImageTooLarge,
        AddressNotAllowed, ImageNotFetched or InvalidInput.
        Messages contain the host, never the path or the query, which may hold secrets.
        """
        self._guard.check_url(url)
        target = httpx.URL(url)
        host = target.raw_host.decode("ascii")
        until = time.monotonic() + self._timeout_s
        with transport(self._guard, until, self._ssl_context) as connections:
            try:
                for _ in range(self._max_redirects + 1):
                    request = httpx.Request("GET", target, headers=_HEADERS)
                    with closing(connections.handle_request(request)) as response:
                        if not response.has_redirect_location:
                            return self._body(response, host)
                        target = _redirected(target, response.headers["Location"], host)
            except httpx.TransportError as error:
                raise _translated(error, host) from error
        raise ImageNotFetched(
            f"{host!r} redirects more than {self._max_redirects} times; "
            "give the URL that the redirects end at"
        )

    def _body(self, response: httpx.Response, host: str) -> bytes:
        status = response.status_code
        if status >= 500 or status in _TEMPORARY:
            raise ImageUnreachable(f"{host!r} answered {status}")
        if not response.is_success:
            raise ImageNotFetched(
                f"{host!r} answered {status}; give a URL that answers with the image"
            )
        self._check_size(int(response.headers.get("Content-Length", 0)), host)
        body = bytearray()
        for part in self._unpacked(response, host):
            body += part
            self._check_size(len(body), host)
        return bytes(body)

    def _unpacked(self, response: httpx.Response, host: str) -> Iterator[bytes]:
        """The content in parts. Some servers send gzip or deflate although none was asked for."""
        codings = compressions(response.headers.get("Content-Encoding", ""))
        if not codings:
            yield from response.iter_raw()
            return
        try:
            (coding,) = codings
            unpacker = Unpacker(coding)
        except ValueError:
            raise ImageNotFetched(
                f"{host!r} sent the image compressed ({', '.join(codings)[:100]}),"
                " which was not asked for"
            ) from None
        try:
            for part in response.iter_raw():
                yield from unpacker.write(part)
            unpacker.close()
        except ValueError as error:
            raise ImageNotFetched(
                f"{host!r} sent the image compressed ({coding}), and it can't be unpacked: {error}"
            ) from None

    def _check_size(self, size: int, host: str) -> None:
        if size > self._max_bytes:
            raise ImageTooLarge(f"the image at {host!r} has more than {self._max_bytes} bytes")


def _redirected(target: httpx.URL, location: str, host: str) -> httpx.URL:
    try:
        destination = target.join(location)
    except httpx.InvalidURL:
        raise ImageNotFetched(f"{host!r} redirects to an invalid URL") from None
    if target.scheme == "https" and destination.scheme == "http":
        raise ImageNotFetched(
            f"{host!r} redirects from https to http; give a URL that stays with https"
        )
    return destination


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
    """The error and its origins. httpcore removes causes but keeps contexts."""
    while error:
        yield error
        error = error.__cause__ or error.__context__
