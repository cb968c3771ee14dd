"""Which URLs of strangers this service may call: none that leads into its own network."""

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from lorajobs.document import without_secrets
from lorajobs.errors import UrlNotAllowed

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def require_allowed(url: str, allow_private: bool) -> None:
    """Checks a URL that will be called: https, and every address of its host is public.

    The answer holds for now: whoever owns the name can change it, so ask again at each use.
    Raises: UrlNotAllowed.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    shown = without_secrets(url)
    if parts.scheme not in ("https", "http") or not host:
        raise UrlNotAllowed(f"{shown} is not an https:// URL")
    if allow_private:
        return
    setting = "unless LORAJOBS_ALLOW_PRIVATE_URLS is set"
    if parts.scheme != "https":
        raise UrlNotAllowed(f"{shown}: only https:// is allowed {setting}")
    private = [address for address in _addresses(host, parts.port or 443) if not is_public(address)]
    if private:
        raise UrlNotAllowed(
            f"{shown}: {host} leads to an address that is not public, not allowed {setting}"
        )


def is_public(address: Address) -> bool:
    """True for an address of the public internet, also inside an IPv6 address that wraps IPv4."""
    return all(
        inner.is_global and not inner.is_multicast and not inner.is_reserved
        for inner in _unwrapped(address)
    )


def _unwrapped(address: Address) -> Iterable[Address]:
    """The address that is meant: those that wrap an IPv4 address reach that one."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped:
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    if address.sixtofour:
        return [address, address.sixtofour]
    if address.teredo:
        return [address, *address.teredo]
    return [address]


def _addresses(host: str, port: int) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UrlNotAllowed(f"the host {host} cannot be resolved") from error
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
