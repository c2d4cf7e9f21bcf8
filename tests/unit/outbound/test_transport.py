"""Transports connect to permitted addresses only.

127.0.0.2 stands for an address that the operator allows, 127.0.0.1 for the inside of the network.
"""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Network

import httpx
import pytest
import trustme

from sluice.errors import AddressNotAllowed, InvalidInput
from sluice.outbound.guard import Guard
from sluice.outbound.transport import async_client, transport
from tests.support.loopback import Handler, Server, serving
from tests.support.names import Names

ALLOWED = "127.0.0.2"
INSIDE = "127.0.0.1"


def guard(*answers: Sequence[str]) -> Guard:
    return Guard([IPv4Network(f"{ALLOWED}/32")], Names(*answers))


def soon() -> float:
    """A time limit that no test reaches."""
    return time.monotonic() + 10


def get(guard: Guard, url: str, context: ssl.SSLContext | None = None) -> httpx.Response:
    with httpx.Client(transport=transport(guard, soon(), context)) as http:
        return http.get(url)


@contextmanager
def two_servers() -> Iterator[tuple[Server, Server]]:
    """A permitted server and a refused one, at the same port."""
    with ExitStack() as stack:
        while True:
            allowed = stack.enter_context(serving(address=ALLOWED))
            try:
                inside = stack.enter_context(serving(address=INSIDE, port=allowed.port))
                break
            except OSError:  # the port is taken at the other address
                continue
        yield allowed, inside


def test_a_name_that_changes_its_answer_never_leads_inside() -> None:
    changing = guard([ALLOWED], [INSIDE])
    with two_servers() as (allowed, inside):
        assert get(changing, f"http://images.test:{allowed.port}/first").status_code == 200
        with pytest.raises(AddressNotAllowed) as caught:
            get(changing, f"http://images.test:{allowed.port}/second")
    assert allowed.seen == ["/first"]
    assert inside.connections == 0
    assert "images.test" in caught.value.message
    assert INSIDE not in caught.value.message


def test_a_name_is_looked_up_once_for_each_connection() -> None:
    names = Names([ALLOWED], [INSIDE])
    with two_servers() as (allowed, inside):
        get(Guard([IPv4Network(f"{ALLOWED}/32")], names), f"http://images.test:{allowed.port}/")
    assert names.asked == ["images.test"]
    assert inside.connections == 0


def test_the_next_address_is_tried_within_the_time_limit() -> None:
    """The first address has a full backlog and stays silent; nothing listens at the second."""
    three_addresses = Guard(
        [IPv4Network("127.0.0.0/8")], Names(["127.0.0.3", "127.0.0.4", ALLOWED])
    )
    with serving(address=ALLOWED) as server, socket.socket() as full, ExitStack() as stack:
        full.bind(("127.0.0.3", server.port))
        full.listen(0)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.3", server.port))

        async def asynchronously() -> int:
            async with async_client(three_addresses, timeout_s=2.4) as http:
                return (await http.get(f"http://images.test:{server.port}/")).status_code

        with httpx.Client(transport=transport(three_addresses, time.monotonic() + 2.4)) as http:
            assert http.get(f"http://images.test:{server.port}/").status_code == 200
        assert asyncio.run(asynchronously()) == 200


def test_the_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def asynchronously(url: str) -> int:
        async with async_client(guard([ALLOWED]), timeout_s=10) as http:
            return (await http.get(url)).status_code

    with two_servers() as (allowed, inside):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{INSIDE}:{inside.port}")
        url = f"http://images.test:{allowed.port}/"
        assert get(guard([ALLOWED]), url).status_code == 200
        assert asyncio.run(asynchronously(url)) == 200
        assert inside.connections == 0


def test_tls_names_the_host_and_checks_its_certificate() -> None:
    authority = trustme.CA()
    ours, theirs = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(ours)
    authority.issue_cert("images.test").configure_cert(theirs)

    async def asynchronously(url: str) -> int:
        async with async_client(guard([ALLOWED]), timeout_s=10, ssl_context=ours) as http:
            return (await http.get(url)).status_code

    with serving(address=ALLOWED, context=theirs) as server:
        right, wrong = (f"https://{name}.test:{server.port}/" for name in ("images", "others"))
        assert get(guard([ALLOWED]), right, ours).status_code == 200
        assert asyncio.run(asynchronously(right)) == 200
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            get(guard([ALLOWED]), wrong, ours)
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            asyncio.run(asynchronously(wrong))
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            get(guard([ALLOWED]), right)  # not signed by a public authority
    assert server.names == [
        "images.test",
        "images.test",
        "others.test",
        "others.test",
        "images.test",
    ]
    assert server.seen == ["/", "/"]


def test_the_async_client_reuses_connections_and_ignores_redirects_and_cookies() -> None:
    def answer(request: Handler) -> None:
        request.reply(
            302,
            Location="/elsewhere",
            Set_Cookie="a=b",
            X_Cookies=request.headers.get("Cookie", "none"),
        )

    async def main(url: str) -> list[httpx.Response]:
        async with async_client(guard([ALLOWED], [INSIDE]), timeout_s=10) as http:
            return [await http.post(url, content=b"body") for _ in range(3)]

    with serving(answer, address=ALLOWED) as server:
        responses = asyncio.run(main(f"http://hooks.test:{server.port}/hook"))
    assert [(response.status_code, response.headers["X-Cookies"]) for response in responses] == [
        (302, "none")
    ] * 3
    assert server.seen == ["/hook"] * 3
    assert server.connections == 1


def test_an_async_name_that_changes_its_answer_never_leads_inside() -> None:
    async def main(url: str) -> None:
        async with async_client(guard([ALLOWED], [INSIDE]), timeout_s=10) as http:
            await http.get(url, headers={"Connection": "close"})
            with pytest.raises(AddressNotAllowed):
                await http.get(url)
            with pytest.raises(AddressNotAllowed):
                await http.get(url.replace("hooks.test", INSIDE))
            with pytest.raises(InvalidInput, match="password"):
                await http.get(url.replace("hooks.test", "user:password@hooks.test"))

    with two_servers() as (allowed, inside):
        asyncio.run(main(f"http://hooks.test:{allowed.port}/"))
    assert len(allowed.seen) == 1
    assert inside.connections == 0


def test_a_lookup_does_not_block_the_event_loop() -> None:
    asked, answered = threading.Event(), threading.Event()

    def slowly(host: str) -> list[str]:
        asked.set()
        assert answered.wait(10), "the event loop was blocked"
        return [INSIDE]

    async def main() -> None:
        async with async_client(Guard(lookup=slowly), timeout_s=30) as http:
            request = asyncio.create_task(http.get("http://hooks.test/"))
            while not asked.is_set():
                await asyncio.sleep(0.001)
            answered.set()
            with pytest.raises(AddressNotAllowed):
                await request

    asyncio.run(main())


def test_a_name_that_is_never_answered_is_a_timeout() -> None:
    answered = threading.Event()

    def never(host: str) -> list[str]:
        answered.wait()
        return [INSIDE]

    async def main() -> None:
        async with async_client(Guard(lookup=never), timeout_s=0.05) as http:
            await http.get("http://hooks.test/")

    try:
        with pytest.raises(httpx.ConnectTimeout):
            asyncio.run(main())
        with (
            transport(Guard(lookup=never), time.monotonic() + 0.05) as connections,
            pytest.raises(httpx.ConnectTimeout),
        ):
            connections.handle_request(httpx.Request("GET", "http://images.test/"))
    finally:
        answered.set()


def test_bytes_that_arrived_are_not_read_after_the_time_limit() -> None:
    until = time.monotonic() + 4
    with (
        serving(lambda request: request.reply(body=b"x" * 500_000), address=ALLOWED) as server,
        transport(guard([ALLOWED]), until) as connections,
    ):
        response = connections.handle_request(
            httpx.Request("GET", f"http://images.test:{server.port}/")
        )
        time.sleep(max(0, until - time.monotonic()))
        with pytest.raises(httpx.ReadTimeout):
            response.read()


@pytest.mark.parametrize("host", ["a" * 70 + ".invalid", "a..b", "%31"])
def test_an_unknown_name_is_a_connect_error(host: str) -> None:
    with pytest.raises(httpx.ConnectError):
        get(Guard(), f"http://{host}/")
