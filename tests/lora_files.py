"""Small real adapter files."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from lorajobs.adapters.library import Library
from lorajobs.spec import Adapter

DEMO_LORAS = Path(__file__).parent.parent / "lorajobs" / "demo" / "loras"
PEFT_CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["to_q"]}

State = dict[str, NDArray[Any]]
#: By the code of the refusal: what is done to a good file so that only a worker finds it out, for
#: its header is sound.
HOSTILE: Mapping[str, Callable[[State], State]] = {
    "lora_not_finite": lambda good: good | {max(good): good[max(good)] * np.float32("nan")},
    "lora_no_effect": lambda good: {name: value * 0 for name, value in good.items()},
    "lora_shape_mismatch": lambda good: {n: v[..., :-1].copy() for n, v in good.items()},
    "lora_unknown_keys": lambda good: {n.replace("blocks", "moons"): v for n, v in good.items()},
}


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
