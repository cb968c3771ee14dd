"""TCP ports on this machine."""

import secrets
import socket

#: Below those that systems give to outgoing connections, so that none is lost before it is used.
_RANGE = range(10_000, 32_000)


def is_free(host: str, port: int) -> bool:
    """True if a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connection is still fading away counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(wanted: int = 0) -> int:
    """The wanted port if it is free on the loopback, else any other that is."""
    port = wanted or secrets.choice(_RANGE)
    while not is_free("127.0.0.1", port):
        port = secrets.choice(_RANGE)
    return port
