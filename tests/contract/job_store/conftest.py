"""Every store under test, on memory and on a real Valkey."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from lorajobs.store import QueueRules
from tests.backends import RULES, Backend, MemoryBackend, RedisBackend, Store


@pytest.fixture(params=["memory", "redis"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    with closing(_opened(request, RULES)) as opened:
        yield opened


def _opened(request: pytest.FixtureRequest, rules: QueueRules) -> Backend:
    if request.node.callspec.params["backend"] == "memory":
        return MemoryBackend(rules)
    return RedisBackend(request.getfixturevalue("valkey_url"), rules)


@pytest.fixture
def ruled(request: pytest.FixtureRequest, backend: Backend) -> Iterator[Backend]:
    """A backend with the rules of the marker `rules`."""
    with closing(_opened(request, request.node.get_closest_marker("rules").args[0])) as opened:
        yield opened


@pytest.fixture
def store(backend: Backend) -> Store:
    return backend.store
