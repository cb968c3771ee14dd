"""What only this machine reaches."""

import pytest

from lorajobs.loopback import is_local, is_loopback
from lorajobs.settings import Settings


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *((host, True) for host in ("127.0.0.1", "127.3.2.1", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "10.0.0.1", "::", "gpu.example")),
    ],
)
def test_which_addresses_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("settings", "local"),
    [
        ({}, True),
        ({"api_host": "::1", "public_url": "http://localhost:8000"}, True),
        ({"api_host": "0.0.0.0"}, False),
        ({"api_host": "gpu.example"}, False),
        # A proxy on this machine lets others in.
        ({"public_url": "https://api.example/pictures"}, False),
    ],
)
def test_an_api_is_local_unless_its_address_or_its_url_is_another_machines(
    settings: dict[str, str], local: bool
) -> None:
    assert is_local(Settings.model_validate(settings)) is local
