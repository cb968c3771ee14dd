"""Replicate's real client of an API in this process."""

import httpx
from replicate.client import Client

from tests.unit.web.api import Api


def client_of(api: Api, token: str = "none") -> Client:
    """A client that asks without a socket, and polls without a pause."""
    transport = httpx.WSGITransport(app=api.app)
    made = Client(token, base_url="http://127.0.0.1", transport=transport)
    made.poll_interval = 0.0
    return made
