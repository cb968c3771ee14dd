"""An installation for the tests of adapters."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lorajobs.adapters.registry import MemoryLoraRegistry
from tests.integration.place import TOKEN, Place
from tests.services.files import file_server
from tests.services.hub import hub


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    loras = tmp_path / "loras"
    loras.mkdir()
    with hub() as a_hub, file_server() as files:
        a_hub.tokens.add(TOKEN)
        yield Place(tmp_path, a_hub, files, MemoryLoraRegistry(), loras)
