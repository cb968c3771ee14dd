"""Adapter files for the engine: the demo's own, renamed into other formats, and made-up ones."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft
from safetensors.torch import load_file, save_file
from torch import Tensor

from lorajobs.engine.base import Engine, LocalAdapter
from lorajobs.spec import AdapterUse
from tests.jobs import a_spec, an_adapter
from tests.lora_files import DEMO_LORAS

#: A module of the demo's UNet and of its text encoder, with (out, in) of their weights.
UNET_MODULE, UNET_SHAPE = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q", (160, 160)
TEXT_MODULE, TEXT_SHAPE = "encoder.layers.1.self_attn.q_proj", (192, 192)


def local(path: Path, scale: float = 1.0, peft: dict[str, object] | None = None) -> LocalAdapter:
    """An adapter file as the cache hands it to the engine."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    pinned = an_adapter(path.stem, sha256=sha256, peft_config=peft)
    return LocalAdapter(AdapterUse(adapter=pinned, scale=scale), path)


def demo(name: str, scale: float = 1.0) -> LocalAdapter:
    """One of the bundled adapters."""
    return local(DEMO_LORAS / f"{name}.safetensors", scale)


def factors(name: str) -> dict[str, Tensor]:
    """A bundled adapter's tensors in PEFT's names, without the component."""
    state: dict[str, Tensor] = load_file(DEMO_LORAS / f"{name}.safetensors")
    renamed = convert_unet_state_dict_to_peft(state)
    return {key.removeprefix("unet."): value for key, value in renamed.items()}


def kohya(name: str, alpha: float) -> dict[str, Tensor]:
    """A bundled adapter as kohya-ss would have saved it."""
    saved = {}
    for key, value in factors(name).items():
        module, factor = key.removesuffix(".weight").rsplit(".", 1)
        called = "lora_unet_" + module.replace(".", "_")
        saved[f"{called}.{'lora_down' if factor == 'lora_A' else 'lora_up'}.weight"] = value
        saved[f"{called}.alpha"] = torch.tensor(alpha)
    return saved


def pair(
    module: str, shape: tuple[int, ...], rank: int = 4, seed: int = 0, std: float = 0.5
) -> dict[str, Tensor]:
    """Random factors for one module, strong enough to be seen."""
    noise = torch.Generator().manual_seed(seed)
    ones = (1,) * (len(shape) - 2)
    return {
        f"{module}.lora_A.weight": torch.randn((rank, *shape[1:]), generator=noise) * std,
        f"{module}.lora_B.weight": torch.randn((shape[0], rank, *ones), generator=noise) * std,
    }


def saved(path: Path, state: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    """Writes a safetensors file; tensors that share memory are copied."""
    save_file({k: v.clone().contiguous() for k, v in state.items()}, path, metadata)
    return path


def prefixed(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under longer names."""
    return {prefix + key: value for key, value in state.items()}


def pixels(engine: Engine, *adapters: LocalAdapter, **fields: Any) -> bytes:
    """The raw pixels of a quick picture with exactly these adapters on; 64 px and 3 steps."""
    engine.apply(adapters)
    quick = {"width": 64, "height": 64, "num_inference_steps": 3} | fields
    (picture,) = engine.generate(a_spec(**quick), lambda step: None).pictures
    return picture.image.tobytes()
