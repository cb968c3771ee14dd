"""The one way to a URL that a stranger wrote: vetted, connected to what was vetted, bounded."""

import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from urllib.parse import urldefrag, urljoin

import httpcore

from lorajobs.reach import Reach, Route

_REDIRECTS = (301, 302, 303, 307, 308)


class Unreachable(Exception):
    """The server did not answer as HTTP wants it; the text says how."""


class TooSlow(Unreachable):
    """It did not do so in time."""


class BodyTooLarge(Exception):
    """The body is larger than the caller takes."""


class Answer:
    """A server's answer, its body not read yet."""

    def __init__(self, response: httpcore.Response) -> None:
        self.status = response.status
        #: by lower-case name
        self.headers: Mapping[str, str] = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in response.headers
        }
        self._response = response

    def chunks(self, most: int) -> Iterator[bytes]:
        """The body as it was sent, at most so many bytes.

        Raises: BodyTooLarge, Unreachable.
        """
        announced = self.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > most:
            raise BodyTooLarge(f"has {announced} bytes, allowed are {most}")
        size = 0
        with _translated():
            for chunk in self._response.iter_stream():
                size += len(chunk)
                if size > most:
                    raise BodyTooLarge(f"has more than the allowed {most} bytes")
                yield chunk

    def onward(self, url: str) -> str | None:
        """Where a redirect leads, None if this is no redirect."""
        location = self.headers.get("location")
        if self.status not in _REDIRECTS or location is None:
            return None
        return urldefrag(urljoin(url, location)).url


class GuardedHttp:
    """Asks servers within a reach, one connection per request, by no proxy."""

    def __init__(self, reach: Reach, tls: ssl.SSLContext | None = None) -> None:
        """`tls` says whose certificates are good; those that the machine trusts if not given."""
        self.reach = reach
        self._given = tls

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # Reading the certificates of all authorities takes longer than a small download.
        return self._given or httpcore.default_ssl_context()

    @contextmanager
    def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None = None,
        *,
        within_s: float,
        redirects: int = 0,
    ) -> Iterator[Answer]:
        """Sends a request; all of it, reading the body too, must be over within so many seconds.

        At most so many redirects are followed, each vetted like the first URL; without any, a
        redirect is an answer like others. Raises: UrlNotAllowed, Unreachable, TooSlow.
        """
        deadline = _Deadline(within_s)
        for _ in range(redirects + 1):
            route = self.reach.vet(url)
            with self._exchange(route, method, headers, content, deadline) as answer:
                onward = answer.onward(url) if redirects else None
                if onward is None:
                    yield answer
                    return
            url = onward
        raise Unreachable(f"more than {redirects} redirects")

    @contextmanager
    def _exchange(
        self,
        route: Route,
        method: str,
        headers: Mapping[str, str],
        content: bytes | None,
        deadline: "_Deadline",
    ) -> Iterator[Answer]:
        scheme, host = route.scheme.encode(), route.host.encode("ascii")
        sent = {"host": route.authority, **headers}
        if content is not None:
            sent["content-length"] = str(len(content))
        request = httpcore.Request(
            method,
            httpcore.URL(scheme=scheme, host=host, port=route.port, target=route.target),
            headers=list(sent.items()),
            content=content,
        )
        connection = httpcore.HTTPConnection(
            httpcore.Origin(scheme, host, route.port),
            ssl_context=self._tls if route.scheme == "https" else None,
            network_backend=_Pinned(route, deadline),
        )
        try:
            with _translated():
                response = connection.handle_request(request)
            yield Answer(response)
        finally:
            connection.close()


class _Deadline:
    """The moment at which everything must be over."""

    def __init__(self, within_s: float) -> None:
        self._ends_at = time.monotonic() + within_s

    def left_s(self) -> float:
        """Raises: httpcore.ReadTimeout once nothing is left."""
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("all in all it took too long")
        return left


class _Pinned(httpcore.NetworkBackend):
    """Connects to the vetted addresses of one route, whatever its name means by now."""

    def __init__(self, route: Route, deadline: _Deadline) -> None:
        self._route = route
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """The first address that answers, each waited for as long as leaves time for the rest."""
        problem: Exception = httpcore.ConnectError("the host has no address")
        for waiting, address in zip(
            range(len(self._route.addresses), 0, -1), self._route.addresses, strict=True
        ):
            within_s = self._deadline.left_s() / waiting
            try:
                stream = httpcore.SyncBackend().connect_tcp(address, self._route.port, within_s)
                return _Timed(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = error
        raise problem


class _Timed(httpcore.NetworkStream):
    """A connection of which every step ends by the deadline, however little each one takes."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left_s())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.left_s())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left_s = self._deadline.left_s()
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, left_s), self._deadline)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401
        return self._stream.get_extra_info(info)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except httpcore.TimeoutException as error:
        raise TooSlow("does not answer in time") from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        detail = " ".join(filter(None, (type(error).__name__, str(error))))
        raise Unreachable(detail) from error
