"""Images are fetched from real servers on loopback, good ones and bad ones."""

import gzip
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network

import pytest
import trustme

from sluice.errors import (
    AddressNotAllowed,
    ImageNotFetched,
    ImageTooLarge,
    ImageUnreachable,
    InvalidInput,
    SluiceError,
)
from sluice.outbound.fetch import Fetcher
from sluice.outbound.guard import Guard
from tests.support.loopback import Handler, serving

MAX_BYTES = 1000
SECRET = "hunter2"


def fetcher(
    *,
    inside: str = "127.0.0.1",
    timeout_s: float = 10.0,
    context: ssl.SSLContext | None = None,
    max_redirects: int = 2,
) -> Fetcher:
    """A fetcher that may reach 127.0.0.2, the address of every name except inside.test."""

    def lookup(host: str) -> Sequence[str]:
        return [host if host[0].isdigit() else inside if host == "inside.test" else "127.0.0.2"]

    guard = Guard([IPv4Network("127.0.0.2/32")], lookup)
    return Fetcher(
        guard,
        max_bytes=MAX_BYTES,
        timeout_s=timeout_s,
        max_redirects=max_redirects,
        ssl_context=context,
    )


def fetch(answer: Callable[[Handler], None], *, using: Fetcher | None = None) -> bytes:
    with serving(answer, address="127.0.0.2") as server:
        return (using or fetcher()).get(
            f"http://images.test:{server.port}/{SECRET}.jpg?signature={SECRET}"
        )


def test_an_image_is_requested_uncompressed() -> None:
    def answer(request: Handler) -> None:
        request.reply(
            body=request.headers["Accept-Encoding"].encode()
            + b" "
            + request.headers["Host"].encode()
        )

    body = fetch(answer)
    assert body.startswith(b"identity images.test:")


def test_an_image_of_the_maximum_size_arrives_without_a_length() -> None:
    def answer(request: Handler) -> None:
        request.send_response(200)
        request.send_header("Connection", "close")
        request.end_headers()
        request.wfile.write(b"x" * MAX_BYTES)

    assert fetch(answer) == b"x" * MAX_BYTES


def test_a_length_that_is_too_large_is_refused_before_the_body() -> None:
    def answer(request: Handler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(MAX_BYTES + 1))
        request.end_headers()

    with pytest.raises(ImageTooLarge):
        fetch(answer)


def test_a_body_without_end_is_cut_off() -> None:
    def answer(request: Handler) -> None:
        request.send_response(200)
        request.end_headers()
        while True:
            request.wfile.write(b"x" * 100)

    with pytest.raises(ImageTooLarge):
        fetch(answer)


@pytest.mark.parametrize(
    "coding", ["", "identity", "IDENTITY, identity", "aws-chunked", "UTF-8", "none", "binary"]
)
def test_a_content_encoding_that_compresses_nothing_is_ignored(coding: str) -> None:
    assert fetch(lambda request: request.reply(body=b"image", Content_Encoding=coding)) == b"image"


@pytest.mark.parametrize("coding", ["gzip", "aws-chunked, gzip"])
def test_a_compressed_answer_is_unpacked(coding: str) -> None:
    body = gzip.compress(b"x" * MAX_BYTES)
    assert fetch(lambda request: request.reply(body=body, Content_Encoding=coding)) == (
        b"x" * MAX_BYTES
    )


@pytest.mark.parametrize(
    ("coding", "body", "error"),
    [
        ("gzip", gzip.compress(b"x" * (MAX_BYTES + 1), mtime=0), ImageTooLarge),
        ("gzip", gzip.compress(b"x", mtime=0)[:-1], ImageNotFetched),
        ("gzip", b"image", ImageNotFetched),
        ("br", b"image", ImageNotFetched),
        ("gzip, gzip", b"image", ImageNotFetched),
    ],
)
def test_a_compressed_answer_that_can_not_be_read_is_told(
    coding: str, body: bytes, error: type[SluiceError]
) -> None:
    with pytest.raises(error) as caught:
        fetch(lambda request: request.reply(body=body, Content_Encoding=coding))
    assert error is ImageTooLarge or "compressed" in caught.value.message


class Drip:
    """Sends `start`, then `drop` again and again, until the client disconnects or for a minute."""

    def __init__(self, start: bytes, drop: bytes, pause_s: float) -> None:
        self.start = start
        self.drop = drop
        self.pause_s = pause_s
        self.gone = threading.Event()

    def __call__(self, request: Handler) -> None:
        until = time.monotonic() + 60
        try:
            request.wfile.write(self.start)
            while time.monotonic() < until:
                request.wfile.write(self.drop)
                self.gone.wait(self.pause_s)
        except ConnectionError:
            self.gone.set()


@pytest.mark.parametrize(
    "drip",
    [
        Drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x", 0.1),
        Drip(b"HTTP/1.1 200 OK\r\nX-Drip: ", b"x", 0.02),
        Drip(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0),
    ],
    ids=["body", "headers", "hints"],
)
def test_an_answer_that_never_ends_is_cut_off(drip: Drip) -> None:
    with pytest.raises(ImageUnreachable, match="in time"):
        fetch(drip, using=fetcher(timeout_s=0.8))
    assert drip.gone.wait(10)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_silent_server_is_given_up(scheme: str) -> None:
    with (
        socket.create_server(("127.0.0.2", 0)) as silent,
        pytest.raises(ImageUnreachable, match="in time"),
    ):
        fetcher(timeout_s=0.2).get(f"{scheme}://images.test:{silent.getsockname()[1]}/")


def test_a_refused_connection_is_unreachable() -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ImageUnreachable):
        fetcher().get(f"http://images.test:{port}/")


def test_a_broken_connection_is_unreachable() -> None:
    def answer(request: Handler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "900")
        request.end_headers()
        request.wfile.write(b"x")
        request.close_connection = True

    with pytest.raises(ImageUnreachable):
        fetch(answer)


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (socket.EAI_NONAME, ImageNotFetched),
        (socket.EAI_NODATA, ImageNotFetched),
        (socket.EAI_AGAIN, ImageUnreachable),
    ],
)
def test_an_unknown_name_and_a_failed_lookup_are_different_errors(
    number: int, error: type[SluiceError]
) -> None:
    def lookup(host: str) -> Sequence[str]:
        raise socket.gaierror(number, "no")

    with pytest.raises(SluiceError) as caught:
        Fetcher(Guard(lookup=lookup), max_bytes=1, timeout_s=10, max_redirects=0).get(
            "http://images.test/"
        )
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, ImageNotFetched),
        (403, ImageNotFetched),
        (304, ImageNotFetched),
        (302, ImageNotFetched),  # without a Location
        (429, ImageUnreachable),
        (500, ImageUnreachable),
        (503, ImageUnreachable),
    ],
)
def test_each_status_has_its_error(status: int, error: type[SluiceError]) -> None:
    with pytest.raises(SluiceError, match=str(status)) as caught:
        fetch(lambda request: request.reply(status))
    assert type(caught.value) is error


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(status: int) -> None:
    def answer(request: Handler) -> None:
        if request.path == "/image":
            request.reply(body=b"image")
        elif request.path == "/again":
            request.reply(status, Location="image")
        else:
            request.reply(
                status,
                Location="//others.test:{}/again".format(request.headers["Host"].partition(":")[2]),
            )

    assert fetch(answer) == b"image"


def test_redirects_are_limited() -> None:
    with (
        serving(lambda request: request.reply(302, Location="/"), address="127.0.0.2") as server,
        pytest.raises(ImageNotFetched, match="2 times"),
    ):
        fetcher().get(f"http://images.test:{server.port}/")
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "inside.test", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"]
)
def test_a_redirect_to_the_inside_is_refused(host: str) -> None:
    with serving() as inside, pytest.raises(AddressNotAllowed) as caught:
        fetch(
            lambda request: request.reply(
                302, Location=f"http://{host}:{inside.port}/latest/meta-data"
            )
        )
    assert inside.connections == 0
    if host == "inside.test":
        assert "127.0.0.1" not in caught.value.message


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "http://[::1", "http://u:p@images.test/", "gopher://images.test/"],
)
def test_a_redirect_to_an_invalid_url_is_refused(location: str) -> None:
    with pytest.raises(InvalidInput):
        fetch(lambda request: request.reply(302, Location=location))


def test_a_redirect_keeps_tls_and_certificates_are_checked() -> None:
    authority = trustme.CA()
    ours, theirs = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(ours)
    authority.issue_cert("images.test").configure_cert(theirs)

    def answer(request: Handler) -> None:
        if request.path == "/down":
            request.reply(302, Location="http://images.test/")
        else:
            request.reply(body=b"image")

    with (
        serving(answer, address="127.0.0.2", context=theirs) as server,
        serving(
            lambda request: request.reply(302, Location=f"https://images.test:{server.port}/"),
            address="127.0.0.2",
        ) as plain,
    ):
        trusting = fetcher(context=ours)
        assert trusting.get(f"https://images.test:{server.port}/") == b"image"
        assert trusting.get(f"http://images.test:{plain.port}/") == b"image"
        with pytest.raises(ImageNotFetched, match="from https to http"):
            trusting.get(f"https://images.test:{server.port}/down")
        with pytest.raises(ImageNotFetched, match=r"certificate of 'others\.test'"):
            trusting.get(f"https://others.test:{server.port}/")


@pytest.mark.parametrize(
    "url", ["", "image.jpg", "ftp://images.test/", "http://", "http://user:hunter2@images.test/"]
)
def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        fetcher().get(url)


def _hang(request: Handler) -> None:
    request.rfile.read()


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: request.reply(404),
        lambda request: request.reply(500),
        lambda request: request.reply(
            302, Location=f"https://user:{SECRET}@images.test/?signature={SECRET}"
        ),
        lambda request: request.reply(302, Location=f"http://inside.test/?signature={SECRET}"),
        lambda request: request.reply(body=b"x" * (MAX_BYTES + 1)),
        _hang,
    ],
)
def test_paths_and_queries_are_in_no_message_and_no_log(
    answer: Callable[[Handler], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(SluiceError) as caught:
        fetch(answer, using=fetcher(timeout_s=0.3))
    assert SECRET not in str(caught.value)
    assert SECRET not in caplog.text
