"""Which URLs of strangers this service calls: none that leads into its own network."""

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from lorajobs.addresses import Address, is_public, parsed, resolved
from lorajobs.document import without_secrets
from lorajobs.errors import UrlNotAllowed
from lorajobs.request import url_problem
from lorajobs.settings import Settings

#: Finds the addresses of a host; raises OSError or UnicodeError.
Resolve = Callable[[str, int], Sequence[str]]


class Route(NamedTuple):
    """A vetted URL: what to ask for, and the only addresses at which it may be asked."""

    scheme: str
    host: str
    port: int
    #: path and query
    target: str
    addresses: Sequence[str]

    @property
    def authority(self) -> str:
        """The host as the Host header names it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == (443 if self.scheme == "https" else 80)
        return host if usual else f"{host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How far the URLs of one purpose may reach."""

    #: hosts and networks inside that are reached all the same, at any port, also by http
    private: Sequence[str]
    #: the setting that holds them
    private_setting: str
    #: the only hosts, `*.` before a domain stands for its subdomains; any if empty
    hosts: Sequence[str] = ()
    ports: Sequence[int] = (443,)
    #: plain http to the public internet
    http: bool = False
    resolve: Resolve = resolved

    @classmethod
    def of_webhooks(cls, settings: Settings) -> "Reach":
        """The reach of webhooks."""
        return cls(
            private=settings.webhook_private,
            private_setting="LORAJOBS_WEBHOOK_PRIVATE",
            ports=settings.url_ports,
            http=settings.url_http,
        )

    @classmethod
    def of_requests(cls, settings: Settings) -> "Reach":
        """The reach of URLs that a request asks us to fetch."""
        return cls(
            private=settings.fetch_private,
            private_setting="LORAJOBS_FETCH_PRIVATE",
            hosts=settings.fetch_hosts,
            ports=settings.url_ports,
            http=settings.url_http,
        )

    def vet(self, url: str) -> Route:
        """The way to a URL, if every address of its host may be called.

        It holds for these addresses alone: whoever owns the name can change it.
        Raises: UrlNotAllowed.
        """
        problem = url_problem(url)
        if problem:
            raise UrlNotAllowed(problem)
        shown = without_secrets(url)
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        if not host:
            raise UrlNotAllowed(f"{shown}: the URL names no host")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if self.hosts and not any(_names(entry, host) for entry in self.hosts):
            raise UrlNotAllowed(f"{shown}: {host} is not in LORAJOBS_FETCH_HOSTS")
        try:
            addresses = self.resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise UrlNotAllowed(f"{shown}: the host {host} cannot be resolved") from error
        if not addresses:
            raise UrlNotAllowed(f"{shown}: the host {host} cannot be resolved")
        inside = [a for a in addresses if not is_public(parsed(a))]
        if not all(self._lists(host, parsed(address)) for address in inside):
            raise UrlNotAllowed(
                f"{shown}: {host} leads to an address that is not public; {self.private_setting} "
                "can allow it"
            )
        if len(inside) < len(addresses):
            self._require_usual(shown, parts.scheme, port)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Route(parts.scheme, host, port, target, addresses)

    def _require_usual(self, shown: str, scheme: str, port: int) -> None:
        if scheme != "https" and not self.http:
            raise UrlNotAllowed(f"{shown}: only https:// is allowed, or LORAJOBS_URL_HTTP")
        if port not in (*self.ports, *([80] if self.http else [])):
            known = ", ".join(map(str, self.ports))
            raise UrlNotAllowed(f"{shown}: port {port} is not in LORAJOBS_URL_PORTS ({known})")

    def _lists(self, host: str, address: Address) -> bool:
        return any(_holds(entry, host, address) for entry in self.private)


def _holds(entry: str, host: str, address: Address) -> bool:
    """True if an entry is this host, or a network with this address."""
    try:
        network = ipaddress.ip_network(entry)
    except ValueError:
        return _names(entry, host)
    return address.version == network.version and address in network


def _names(entry: str, host: str) -> bool:
    if entry.startswith("*."):
        return host.endswith(entry[1:].lower())
    return host == entry.lower().rstrip(".")
