"""A library with a few adapters on disk: three bases, and adapters that fit one, two or none."""

import json
from pathlib import Path

from lorajobs.adapters.library import Library
from lorajobs.adapters.registry import MemoryLoraRegistry
from lorajobs.catalog import Catalog
from lorajobs.errors import UrlNotAllowed
from lorajobs.settings import Settings
from lorajobs.storage.folder import FolderStore

PUBLIC_URL = "https://api.example"
#: Read once, for that takes longer than all else of a shelf. Where keys are needed, a test of
#: keys says so.
SETTINGS = Settings(public_url=PUBLIC_URL, require_keys="never")


def weights(name: str) -> bytes:
    """A valid adapter file, another one for each name; its weights are for no real base."""
    data = b"B" + name.encode()
    spans = {"lora_A": (1, len(data)), "lora_B": (0, 1)}
    tensors = {
        f"unet.to_q.{factor}.weight": {"dtype": "U8", "shape": [e - b], "data_offsets": [b, e]}
        for factor, (b, e) in spans.items()
    }
    header = json.dumps(tensors).encode()
    return len(header).to_bytes(8, "little") + header + data


def refuse_private(url: str) -> None:
    """A check of webhooks that asks no name server."""
    if "private" in url:
        raise UrlNotAllowed(f"{url} leads to a private address")


class Shelf:
    """Everything about models and adapters that the API needs, below one folder.

    `pixel` and `line` belong to `demo`, `far` to `third`; `cousin` accepts demo's adapters.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "loras"
        self.root.mkdir()
        self.catalog = Catalog.model_validate(
            {
                "models": {
                    "demo": {
                        "repo": "owner/demo",
                        "aliases": ["emoji"],
                        "accepts": ["family/original"],
                        "schedulers": ["DDIMScheduler", "EulerDiscreteScheduler"],
                        "defaults": {"width": 128, "height": 96, "guidance_scale": 4.0},
                        "limits": {
                            "min_size": 64,
                            "max_size": 256,
                            "max_pixels": 128 * 256,
                            "multiple_of": 32,
                            "max_steps": 50,
                            "max_guidance_scale": 20,
                            "max_images": 4,
                        },
                    },
                    "cousin": {"repo": "owner/cousin", "accepts": ["owner/demo"]},
                    "third": {"repo": "owner/third"},
                },
                "loras": {
                    "pixel": {"source": self.file("pixel"), "base": "demo", "scale": 0.8},
                    "line": {"source": self.file("line"), "base": "demo"},
                    "far": {"source": self.file("far"), "base": "third"},
                },
            }
        )
        own = {"data_dir": folder / "data", "lora_roots": (self.root,)}
        self.settings = SETTINGS.model_copy(update=own)
        self.folder = folder / "objects"
        self.objects = FolderStore(self.folder, PUBLIC_URL, 3600)
        self.registry = MemoryLoraRegistry()
        self.library = Library(self.settings, self.catalog, self.registry, self.objects)

    def file(self, name: str) -> str:
        """Puts a weight file on the shelf."""
        path = self.root / f"{name}.safetensors"
        path.write_bytes(weights(name))
        return str(path)

    def peft(self, name: str, base: str) -> str:
        """Puts a PEFT folder on the shelf whose config names its base."""
        folder = self.root / name
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(weights(name))
        config = {"peft_type": "LORA", "r": 4, "base_model_name_or_path": base}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        return str(folder)
