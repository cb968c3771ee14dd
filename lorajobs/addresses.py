"""Which addresses belong to the public internet, and how a host's addresses are found."""

import ipaddress
import queue
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: This machine's own addresses, as networks.
LOOPBACK = ("127.0.0.0/8", "::1/128")
#: Seconds that a name server gets.
LOOKUP_S = 5.0

#: All that is routed publicly. What lies outside wraps IPv4 (mapped, NAT64 64:ff9b::/96 and
#: 64:ff9b:1::/48), is local, or is nothing yet; Python calls some of it global.
_UNICAST = ipaddress.IPv6Network("2000::/3")
#: Inside of that, what leads elsewhere or nowhere, whatever Python's release says of it.
_SPECIAL: Sequence[Network] = tuple(
    map(
        ipaddress.ip_network,
        (
            "2001::/23",  # Teredo, ORCHID, benchmarks
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4, which wraps an IPv4 address
            "3fff::/20",  # documentation
            "192.0.0.0/24",  # protocol assignments
            "192.88.99.0/24",  # 6to4 relays
        ),
    )
)


def is_public(address: Address) -> bool:
    """True for a unicast address of the public internet that stands for itself alone."""
    if isinstance(address, ipaddress.IPv6Address) and address not in _UNICAST:
        return False
    if any(address in network for network in _SPECIAL if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def parsed(text: str) -> Address:
    """An address as a resolver writes it, without the zone it may carry."""
    return ipaddress.ip_address(text.partition("%")[0])


def resolved(
    host: str,
    port: int,
    look_up: Callable[..., Iterable[Sequence[Any]]] = socket.getaddrinfo,
    within_s: float = LOOKUP_S,
) -> Sequence[str]:
    """Every address of a host, in the order in which they are to be tried.

    Raises: OSError, also if no name server answers in time, UnicodeError.
    """
    answer: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = look_up(host, port, type=socket.SOCK_STREAM)
            answer.put(list(dict.fromkeys(str(entry[4][0]) for entry in found)))
        except (OSError, UnicodeError) as error:
            answer.put(error)

    # The call takes no timeout, and whoever owns the name may own a name server that is silent.
    threading.Thread(target=ask, daemon=True).start()
    try:
        addresses = answer.get(timeout=within_s)
    except queue.Empty:
        raise TimeoutError(f"no name server knows {host} within {within_s:g} s") from None
    if isinstance(addresses, Exception):
        raise addresses
    return addresses
