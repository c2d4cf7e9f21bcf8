"""The guard judges addresses, URLs and host names."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.errors import AddressNotAllowed, InvalidInput
from sluice.outbound.guard import Guard
from sluice.settings import Settings
from tests.support.names import Names

REFUSED = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
    "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32",
    "168.63.129.16/32", "100.100.100.200/32", "169.254.169.254/32", "::/128", "::1/128", "::/96",
    "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32",
    "2001:2::/48", "2001:10::/28", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16",
    "fc00::/7", "fd00:ec2::254/128", "fe80::/10", "fec0::/10", "ff00::/8",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
    "126.255.255.255", "128.0.0.0", "168.63.129.15", "172.15.255.255", "172.32.0.0", "192.0.1.0",
    "192.169.0.0", "223.255.255.255", "2001:200::", "2001:4860:4860::8888",
    "2606:4700:4700::1111", "2a00:1450::", "3ffe:ffff::",
]  # fmt: skip


@st.composite
def refused(draw: st.DrawFn) -> IPv4Address | IPv6Address:
    network = ip_network(draw(st.sampled_from(REFUSED)))
    return network[draw(st.integers(0, network.num_addresses - 1))]


@st.composite
def spelled(draw: st.DrawFn, address: IPv4Address | IPv6Address) -> str:
    """A spelling of the address. 127.0.0.1 is also 0177.1, 0x7f000001 or 127.0.1."""
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
def test_an_address_is_refused_in_every_spelling(data: st.DataObject) -> None:
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
def test_permitted_addresses_are_global_unicast_for_the_standard_library_too(
    address: IPv4Address | IPv6Address,
) -> None:
    if Guard().permits(address):
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_reserved


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_permitted(address: str) -> None:
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

    allowing = Guard([IPv6Network(allow)])
    assert not Guard().permits(inside("8.8.4.4"))
    assert allowing.permits(inside("8.8.4.4"))
    assert not allowing.permits(inside("169.254.169.254"))
    assert not allowing.permits(inside("10.0.0.1"))


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
def test_a_url_with_a_name_is_accepted_without_a_lookup(url: str) -> None:
    Guard(lookup=Names(["127.0.0.1"])).check_url(url)


def test_localhost_is_refused() -> None:
    with pytest.raises(AddressNotAllowed):
        Guard().addresses("localhost").result()


def test_refused_addresses_are_left_out_and_the_rest_keeps_its_order() -> None:
    names = Names(["10.0.0.1", "8.8.8.8", "::1", "2606:4700::1", "fe80::1%lo"])
    assert Guard(lookup=names).addresses("mixed.test").result() == ["8.8.8.8", "2606:4700::1"]


def test_the_setting_allows_networks(monkeypatch: pytest.MonkeyPatch) -> None:
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
