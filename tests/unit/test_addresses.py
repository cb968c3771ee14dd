import ipaddress

import pytest

from lorajobs.addresses import is_public, require_allowed
from lorajobs.errors import UrlNotAllowed


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "fd12::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2002:a00:1::",
        "2001:0:7f00:1::",
    ],
)
def test_addresses_that_lead_inside(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://8.8.8.8/x", "only https://"),
        ("https://127.0.0.1/x", "not public"),
        ("https://localhost:8443/x", "not public"),
        ("https://[::1]/x", "not public"),
        ("https://[::ffff:169.254.169.254]/latest/meta-data", "not public"),
        ("https://2130706433/x", "not public"),
        ("https://0x7f.1/x", "not public"),
        ("https://does-not-exist.invalid/x", "cannot be resolved"),
        (f"https://{'a' * 64}.example/x", "cannot be resolved"),
        ("ftp://8.8.8.8/x", "not an https:// URL"),
        ("https:///x", "not an https:// URL"),
    ],
)
def test_urls_that_are_not_called(url: str, says: str) -> None:
    with pytest.raises(UrlNotAllowed, match=says):
        require_allowed(url, allow_private=False)


def test_the_way_out_is_named() -> None:
    with pytest.raises(UrlNotAllowed, match="LORAJOBS_ALLOW_PRIVATE_URLS"):
        require_allowed("http://127.0.0.1/x", allow_private=False)


def test_a_public_address_over_https_is_called() -> None:
    require_allowed("https://8.8.8.8/x", allow_private=False)
    require_allowed("https://[2606:4700::1111]:8443/x", allow_private=False)


def test_the_setting_opens_private_addresses_and_http_but_nothing_else() -> None:
    require_allowed("http://127.0.0.1:1234/x", allow_private=True)
    with pytest.raises(UrlNotAllowed):
        require_allowed("file:///etc/passwd", allow_private=True)
