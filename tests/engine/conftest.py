"""One warm demo base for the whole run; every test says itself which adapters are on."""

import hashlib
import os
from collections.abc import Callable

# Before torch is imported: several test processes may share the machine's cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from lorajobs.catalog import Catalog
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.settings import Settings

Fingerprint = Callable[[DiffusersEngine], str]


@pytest.fixture(scope="session")
def engine() -> DiffusersEngine:
    """The real demo base on the CPU."""
    return _demo("auto")


@pytest.fixture(scope="session")
def unfused() -> DiffusersEngine:
    """The same base with PEFT's layers, as quantised bases are served."""
    return _demo("unfused")


def _demo(placement: str) -> DiffusersEngine:
    entry = Catalog.load(None).models["demo"].model_copy(update={"placement": placement})
    engine = DiffusersEngine(entry, Settings(device="cpu"))
    engine.load()
    return engine


@pytest.fixture
def weights() -> Fingerprint:
    """Says what a base's own weights hash to now, adapters left out."""

    def fingerprint(engine: DiffusersEngine) -> str:
        digest = hashlib.sha256()
        for component in (engine._pipe.unet, engine._pipe.text_encoder, engine._pipe.vae):
            state = {
                name.replace(".base_layer", ""): value
                for name, value in component.state_dict().items()
                if ".lora_" not in name
            }
            for name in sorted(state):
                digest.update(name.encode())
                digest.update(state[name].view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    return fingerprint
