"""Which addresses only this machine reaches."""

from contextlib import suppress
from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """True if only this machine reaches a server on this address."""
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return False
