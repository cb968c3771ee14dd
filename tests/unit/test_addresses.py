"""Which addresses are public, and that a silent name server is not waited for."""

import ipaddress
import threading

import pytest

from lorajobs.addresses import is_public, parsed, resolved


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "192.0.1.1", "2606:4700::1111", "2a00:1450:4001:81b::200e"]
)
def test_public_addresses(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.9",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::808:808",
        "64:ff9b:1::a00:1",
        "100::1",
        "2001:0:7f00:1::",
        "2001:10::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:808:808::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_that_lead_inside_or_nowhere(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


def test_a_zone_is_no_part_of_an_address() -> None:
    assert parsed("fe80::1%eth0") == ipaddress.ip_address("fe80::1")


@pytest.mark.parametrize("host", ["does-not-exist.invalid", f"{'a' * 64}.example", "a..b"])
def test_a_host_that_is_none(host: str) -> None:
    with pytest.raises((OSError, UnicodeError)):
        resolved(host, 443)


def test_a_silent_name_server_is_left() -> None:
    over = threading.Event()

    def silent(*_: object, **__: object) -> list[tuple[object, ...]]:
        over.wait(30)
        return []

    try:
        with pytest.raises(TimeoutError, match="no name server"):
            resolved("slow.example", 443, silent, within_s=0.05)
    finally:
        over.set()
