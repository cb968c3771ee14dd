"""Engines on a CUDA device, with recorded steps, and the same eager for comparison."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lorajobs.catalog import Catalog, ModelEntry
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.settings import Settings
from tests.engine.tiny import save

MakeEngine = Callable[..., DiffusersEngine]


def loaded(entry: ModelEntry) -> DiffusersEngine:
    """An engine of this base on the first GPU."""
    assert torch.cuda.is_available(), "these tests are for a machine with a CUDA GPU"
    engine = DiffusersEngine(entry, Settings(device="cuda", host_cache_mb=256))
    engine.load()
    return engine


@pytest.fixture(scope="session")
def demo_on() -> MakeEngine:
    """The demo base with any option of its entry."""

    def made(**fields: object) -> DiffusersEngine:
        return loaded(Catalog.load(None).models["demo"].model_copy(update=fields))

    return made


@pytest.fixture(scope="session")
def recorded(demo_on: MakeEngine) -> DiffusersEngine:
    """The demo base as it is by default."""
    return demo_on()


@pytest.fixture(scope="session")
def eager(demo_on: MakeEngine) -> DiffusersEngine:
    """The demo base without graphs."""
    return demo_on(speed="eager")


@pytest.fixture
def family_on(tmp_path: Path) -> MakeEngine:
    """A base of one architecture with a few random weights."""

    def made(family: str, **fields: object) -> DiffusersEngine:
        path = save(family, tmp_path / family)
        return loaded(ModelEntry.model_validate({"id": family, "path": path, **fields}))

    return made
