"""What only this machine reaches."""

from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from lorajobs.settings import Settings


@lru_cache(maxsize=1024)
def is_loopback(host: str) -> bool:
    """True if only this machine reaches a server on this address."""
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return False


def is_local(settings: Settings) -> bool:
    """True unless the API's address, or the URL that it tells its clients, is another machine's."""
    public = urlsplit(settings.public_url).hostname if settings.public_url else None
    return is_loopback(settings.api_host) and (public is None or is_loopback(public))
