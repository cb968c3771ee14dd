"""Fixtures for the tests of the API."""

from pathlib import Path

import pytest

from tests.shelf import Shelf
from tests.unit.web.api import Api


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """A library with a few adapters."""
    return Shelf(tmp_path)


@pytest.fixture
def api(shelf: Shelf) -> Api:
    """An API with everything in its place."""
    return Api(shelf)
