"""Which addresses requests may reach, and that a connection goes to no other.

Here 127.0.0.2 stands for what may be reached, as the operator allows it, and 127.0.0.1 for the inside of the network.
"""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import httpx
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from sluice.errors import AddressNotAllowed, InvalidInput
from sluice.outbound.guard import Guard, async_client, transport
from sluice.settings import Settings
from tests.support.loopback import Handler, Server, serving

ALLOWED = "127.0.0.2"
INSIDE = "127.0.0.1"

REFUSED = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
    "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    "255.255.255.255/32", "168.63.129.16/32", "100.100.100.200/32", "169.254.169.254/32",
    "::/128", "::1/128", "::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32",
    "2001:2::/48", "2001:10::/28", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fd00:ec2::254/128",
    "fe80::/10", "fec0::/10", "ff00::/8",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
    "168.63.129.15", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.169.0.0", "223.255.255.255",
    "2001:200::", "2001:4860:4860::8888", "2606:4700:4700::1111", "2a00:1450::", "3ffe:ffff::",
]  # fmt: skip


class Names:
    """A resolver whose answers follow one another; the last stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def guard(*answers: Sequence[str]) -> Guard:
    return Guard([IPv4Network(f"{ALLOWED}/32")], Names(*answers))


def soon() -> float:
    return time.monotonic() + 10


def get(by: Guard, url: str, context: ssl.SSLContext | None = None) -> httpx.Response:
    with httpx.Client(transport=transport(by, soon(), context)) as http:
        return http.get(url)


@contextmanager
def two_servers() -> Iterator[tuple[Server, Server]]:
    """One that may be reached and one that may not, at the same port."""
    with ExitStack() as stack:
        while True:
            allowed = stack.enter_context(serving(address=ALLOWED))
            try:
                inside = stack.enter_context(serving(address=INSIDE, port=allowed.port))
                break
            except OSError:  # somebody else has that port there
                continue
        yield allowed, inside


@st.composite
def refused(draw: st.DrawFn) -> IPv4Address | IPv6Address:
    network = ip_network(draw(st.sampled_from(REFUSED)))
    return network[draw(st.integers(0, network.num_addresses - 1))]


@st.composite
def spelled(draw: st.DrawFn, address: IPv4Address | IPv6Address) -> str:
    """One of the ways to write it: 127.0.0.1 is 0177.1, 0x7f000001 or 127.0.1 as well, and ::7F00:1 is ::127.0.0.1."""
    if isinstance(address, IPv6Address):
        head, tail = address.packed[:12], IPv4Address(address.packed[12:])
        dotted = ":".join(head[at : at + 2].hex() for at in range(0, 12, 2)) + f":{tail}"
        return draw(
            st.sampled_from([str(address), address.exploded, address.exploded.upper(), dotted])
        )
    parts = draw(st.integers(1, 4))
    numbers = [*address.packed[: parts - 1], int.from_bytes(address.packed[parts - 1 :])]
    return ".".join(
        draw(st.sampled_from([f"{n}", f"0{n:o}", f"0x{n:x}", f"0X{n:X}"])) for n in numbers
    )


@given(st.data())
def test_what_is_refused_is_refused_however_it_is_spelled(data: st.DataObject) -> None:
    address = data.draw(refused())
    host = data.draw(spelled(address))
    assert not Guard().permits(address)
    with pytest.raises(AddressNotAllowed):
        Guard().addresses(host).result()
    with pytest.raises(InvalidInput):
        Guard().check_url(f"http://[{host}]/" if ":" in host else f"http://{host}/")


@pytest.mark.parametrize("network", REFUSED)
def test_a_refused_network_is_refused_from_end_to_end(network: str) -> None:
    assert not Guard().permits(ip_network(network)[0])
    assert not Guard().permits(ip_network(network)[-1])


@given(st.ip_addresses())
def test_what_is_permitted_is_global_unicast_by_the_standard_library_as_well(
    address: IPv4Address | IPv6Address,
) -> None:
    if Guard().permits(address):
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_reserved


@pytest.mark.parametrize("address", PUBLIC)
def test_the_public_is_permitted(address: str) -> None:
    assert Guard().permits(ip_address(address))
    Guard().check_url(f"https://[{address}]/" if ":" in address else f"https://{address}/")


@pytest.mark.parametrize(
    ("allow", "form"),
    [
        ("64:ff9b::/96", "64:ff9b::{v4}"),
        ("64:ff9b:1::/48", "64:ff9b:1::{v4}"),
        ("::ffff:0:0/96", "::ffff:{v4}"),
        ("2002::/16", "2002:{hex}::1"),
        ("2001::/32", "2001:0:0808:0808::{turned}"),
        ("2001::/32", "2001:0:{hex}::f7f7:f7f7"),
    ],
)
def test_an_address_inside_another_is_judged_too(allow: str, form: str) -> None:
    def inside(v4: str) -> IPv6Address:
        packed = IPv4Address(v4).packed
        turned = bytes(255 - byte for byte in packed)
        return IPv6Address(form.format(v4=v4, hex=packed.hex(":", 2), turned=turned.hex(":", 2)))

    by = Guard([IPv6Network(allow)])
    assert not Guard().permits(inside("8.8.4.4"))
    assert by.permits(inside("8.8.4.4"))
    assert not by.permits(inside("169.254.169.254"))
    assert not by.permits(inside("10.0.0.1"))


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("ftp://example.com/a", InvalidInput),
        ("file:///etc/passwd", InvalidInput),
        ("unix:///run/redis.sock", InvalidInput),
        ("//example.com/a", InvalidInput),
        ("http:///a", InvalidInput),
        ("http://[::1", InvalidInput),
        ("http://user:hunter2@example.com/", InvalidInput),
        ("http://example.com:0/", InvalidInput),
        ("http://example.com:65536/", InvalidInput),
        ("http://\uff11\uff12\uff17.0.0.1/", InvalidInput),  # digits of full width
        ("http://2130706433/", AddressNotAllowed),
        ("http://0/", AddressNotAllowed),
        ("http://0x7f.1/", AddressNotAllowed),
        ("http://[::ffff:169.254.169.254]/", AddressNotAllowed),
        ("http://example.com\\@127.0.0.1/", InvalidInput),
    ],
)
def test_a_url_is_refused_when_it_is_submitted(url: str, error: type[InvalidInput]) -> None:
    with pytest.raises(InvalidInput) as caught:
        Guard().check_url(url)
    assert type(caught.value) is error
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "HTTPS://Example.com:8443/a?b#c",
        "http://127.0.0.1./",
        "http://localhost/",
    ],
)
def test_names_are_left_for_the_connection(url: str) -> None:
    Guard(lookup=Names(["127.0.0.1"])).check_url(url)


def test_localhost_is_found_out() -> None:
    with pytest.raises(AddressNotAllowed):
        Guard().addresses("localhost").result()


def test_what_is_refused_is_left_out_and_the_rest_keeps_its_order() -> None:
    names = Names(["10.0.0.1", "8.8.8.8", "::1", "2606:4700::1", "fe80::1%lo"])
    assert Guard(lookup=names).addresses("mixed.test").result() == ["8.8.8.8", "2606:4700::1"]


def test_a_name_that_changes_its_answer_never_leads_inside() -> None:
    by = guard([ALLOWED], [INSIDE])
    with two_servers() as (allowed, inside):
        assert get(by, f"http://images.test:{allowed.port}/first").status_code == 200
        with pytest.raises(AddressNotAllowed) as caught:
            get(by, f"http://images.test:{allowed.port}/second")
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


def test_the_next_address_is_tried_within_the_time() -> None:
    """The first one's queue of connections is full, so that it stays silent; nothing listens at the second."""
    by = Guard([IPv4Network("127.0.0.0/8")], Names(["127.0.0.3", "127.0.0.4", ALLOWED]))
    with serving(address=ALLOWED) as server, socket.socket() as full, ExitStack() as stack:
        full.bind(("127.0.0.3", server.port))
        full.listen(0)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.3", server.port))

        async def asynchronously() -> int:
            async with async_client(by, timeout_s=2.4) as http:
                return (await http.get(f"http://images.test:{server.port}/")).status_code

        with httpx.Client(transport=transport(by, time.monotonic() + 2.4)) as http:
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
            get(guard([ALLOWED]), right)  # signed by nobody that the public knows
    assert server.names == [
        "images.test",
        "images.test",
        "others.test",
        "others.test",
        "images.test",
    ]
    assert server.seen == ["/", "/"]


def test_async_connections_are_used_again_and_nothing_is_followed_or_kept() -> None:
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
    assert [(found.status_code, found.headers["X-Cookies"]) for found in responses] == [
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


def test_the_loop_goes_on_while_a_name_is_looked_up() -> None:
    asked, answered = threading.Event(), threading.Event()

    def slowly(host: str) -> list[str]:
        asked.set()
        assert answered.wait(10), "the loop did not go on"
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
            transport(Guard(lookup=never), time.monotonic() + 0.05) as road,
            pytest.raises(httpx.ConnectTimeout),
        ):
            road.handle_request(httpx.Request("GET", "http://images.test/"))
    finally:
        answered.set()


def test_what_has_come_already_is_not_read_after_the_end() -> None:
    until = time.monotonic() + 4
    with (
        serving(lambda request: request.reply(body=b"x" * 500_000), address=ALLOWED) as server,
        transport(guard([ALLOWED]), until) as road,
    ):
        response = road.handle_request(httpx.Request("GET", f"http://images.test:{server.port}/"))
        time.sleep(max(0, until - time.monotonic()))
        with pytest.raises(httpx.ReadTimeout):
            response.read()


@pytest.mark.parametrize("host", ["a" * 70 + ".invalid", "a..b", "%31"])
def test_a_name_that_leads_nowhere_is_a_connect_error(host: str) -> None:
    with pytest.raises(httpx.ConnectError):
        get(Guard(), f"http://{host}/")


def test_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.from_env().netguard.allow == ()
    monkeypatch.setenv("SLUICE_NETGUARD_ALLOW", "10.1.0.0/16, fd00:1::/64,192.168.1.7,")
    assert Settings.from_env().netguard.allow == (
        IPv4Network("10.1.0.0/16"),
        IPv6Network("fd00:1::/64"),
        IPv4Network("192.168.1.7/32"),
    )
    assert Guard(Settings.from_env().netguard.allow).permits(IPv4Address("10.1.2.3"))
    assert not Guard(Settings.from_env().netguard.allow).permits(IPv4Address("10.2.2.3"))


@pytest.mark.parametrize("wrong", ["10.1.0.1/16", "10.1.0.0/33", "intranet"])
def test_the_wrong_entry_is_named(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("SLUICE_NETGUARD_ALLOW", f"10.0.0.0/8,{wrong}")
    with pytest.raises(ValueError, match=f"SLUICE_NETGUARD_ALLOW: '{wrong}'"):
        Settings.from_env()
