"""How a client shows its API key."""

from collections.abc import Generator

import httpx


class Bearer(httpx.Auth):
    """Shows the key to the API alone: not to the storage, whose URLs are signed."""

    def __init__(self, api: httpx.URL, key: str) -> None:
        self._api = api
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Adds the header, where the request goes to the API."""
        url, api = request.url, self._api
        if (url.scheme, url.host, url.port) == (api.scheme, api.host, api.port):
            request.headers["Authorization"] = f"Bearer {self._key}"
        yield request
