"""Small real adapter files."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from lorajobs.adapters.library import Library
from lorajobs.spec import Adapter

DEMO_LORAS = Path(__file__).parent.parent / "lorajobs" / "demo" / "loras"
PEFT_CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["to_q"]}


def lora(fill: float = 1.0, *, rank: int = 2, padding: int = 0) -> bytes:
    """A safetensors file with one pair of matrices; other numbers give other bytes."""
    tensors = {
        "unet.to_q.lora_A.weight": np.full((rank, 8), fill, dtype=np.float16),
        "unet.to_q.lora_B.weight": np.full((8, rank), fill, dtype=np.float16),
    }
    metadata = {"padding": "x" * padding} if padding else None
    return bytes(save(tensors, metadata))


def peft_folder(fill: float = 1.0, **config: object) -> dict[str, bytes]:
    """The two files that PEFT saves."""
    return {
        "adapter_config.json": json.dumps(PEFT_CONFIG | config).encode(),
        "adapter_model.safetensors": lora(fill),
    }


def tokens(rows: int = 2, fill: float = 1.0) -> bytes:
    """The trained tokens of an adapter of SDXL, a few numbers wide."""
    widths = {"clip_l": 4, "clip_g": 6}
    return bytes(save({k: np.full((rows, w), fill, dtype=np.float32) for k, w in widths.items()}))


def fetched(library: Library, adapter: Adapter) -> bytes:
    """The adapter's bytes as a worker with this library gets them."""
    with library.ensure(adapter) as file:
        return file.path.read_bytes()


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """Writes files below a folder, which is made."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
