"""A TCP proxy that now and then lets a request through and loses its reply."""

import random
import selectors
import socket
from contextlib import suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer

from tests.services.server import HOST

CONNECT_S = 2.0
CHUNK = 65_536


class CutProxy(ThreadingTCPServer):
    """Passes everything to a port of 127.0.0.1, but cuts this share of the requests' connections.

    The cut comes when the server has answered, so the request did take effect and its sender cannot
    know it: the hardest case for whoever sends it again.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, target: int, share: float = 0.0, seed: int = 0) -> None:
        super().__init__((HOST, 0), _Link)
        self.target = target
        self.share = share
        self.cuts = 0
        self._rng = random.Random(seed)
        self._words = b""
        self._times = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def cut_at(self, words: bytes, times: int = 1) -> None:
        """Loses the replies to the next requests with these words in them."""
        self._words, self._times = words, times

    def loses_reply(self, request: bytes) -> bool:
        """True if the reply to this request is to be lost."""
        if self._times and self._words in request:
            self._times -= 1
            return True
        return self._rng.random() < self.share


class _Link(BaseRequestHandler):
    """One client's connection and its counterpart."""

    server: CutProxy
    request: socket.socket

    def handle(self) -> None:
        # A client sees a refused or broken server as the end of its connection.
        with (
            suppress(OSError),
            socket.create_connection((HOST, self.server.target), CONNECT_S) as upstream,
        ):
            upstream.settimeout(None)
            self._pass_on(upstream)

    def _pass_on(self, upstream: socket.socket) -> None:
        cut = False
        with selectors.DefaultSelector() as ready:
            ready.register(self.request, selectors.EVENT_READ, upstream)
            ready.register(upstream, selectors.EVENT_READ, self.request)
            while True:
                for key, _ in ready.select():
                    source, target = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    data = source.recv(CHUNK)
                    if not data:
                        return
                    if source is self.request:
                        cut = cut or self.server.loses_reply(data)
                    elif cut:
                        self.server.cuts += 1
                        return
                    target.sendall(data)
