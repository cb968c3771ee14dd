"""One installation of lorajobs, and what it stands on."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from lorajobs.adapters.library import Library
from lorajobs.adapters.registry import MemoryLoraRegistry
from lorajobs.addresses import LOOPBACK
from lorajobs.catalog import Catalog, LoraEntry, ModelEntry
from lorajobs.settings import Settings
from lorajobs.spec import Adapter
from lorajobs.storage.folder import FolderStore
from tests.lora_files import lora
from tests.services.files import FileServer
from tests.services.hub import Hub, Repo

SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
REPO = "nerijs/pixel-art-xl"
CARD = {"base_model": SDXL, "instance_prompt": "pixel art", "license": "openrail++"}
TOKEN = "hf_operator"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Place:
    """One installation: a library, and what it stands on."""

    folder: Path
    hub: Hub
    files: FileServer
    registry: MemoryLoraRegistry
    loras: Path

    def catalog(self, *loras: LoraEntry) -> Catalog:
        models = {
            "sdxl": {"repo": SDXL, "aliases": ("xl",)},
            "sd15": {"path": "sd15", "accepts": ("runwayml/sd15", "family")},
            "mini": {"path": "mini", "accepts": ("family",)},
        }
        entries = {entry.id: entry.model_dump(exclude={"id"}) for entry in loras}
        return Catalog.model_validate({"models": models, "loras": entries})

    def library(self, *loras: LoraEntry, machine: str = "api", **settings: Any) -> Library:
        """A process on one machine; its object store and registry are everybody's."""
        values = {
            "data_dir": self.folder / machine,
            "lora_roots": (self.loras,),
            "hf_endpoint": self.hub.url,
            "hf_token": SecretStr(TOKEN),
            "fetch_private": LOOPBACK,
            **settings,
        }
        objects = FolderStore(self.folder / "objects", "http://127.0.0.1", 60)
        return Library(
            Settings.model_validate(values), self.catalog(*loras), self.registry, objects
        )

    @property
    def sdxl(self) -> ModelEntry:
        return self.catalog().models["sdxl"]

    def resolve(
        self, reference: object, weight_name: str | None = None, **settings: Any
    ) -> Adapter:
        return self.library(**settings).resolve(str(reference), self.sdxl, weight_name)

    def snapshots(self) -> set[str]:
        folder = self.folder / "objects" / "adapters"
        return {path.stem for path in folder.glob("*")} if folder.exists() else set()


def published(place: Place, files: dict[str, bytes] | None = None, **fields: Any) -> Repo:
    repo = Repo(**{"card": CARD, "tags": ("lora",), **fields})
    return place.hub.add(REPO, repo, files or {"pixel.safetensors": lora()})


def entry(**fields: object) -> LoraEntry:
    return LoraEntry.model_validate({"id": "pixel", "source": f"hf:{REPO}", **fields})
