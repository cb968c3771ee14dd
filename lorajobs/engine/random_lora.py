"""A made-up adapter for any base, to try it with before there is a real one."""

from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file

from lorajobs.adapters.digest import sha256_of
from lorajobs.engine.base import LocalAdapter
from lorajobs.errors import EngineFailed
from lorajobs.spec import Adapter, AdapterUse

RANK = 8
#: How large its change of a weight is, as a part of that weight's own spread: enough to be seen.
STRENGTH = 0.25
NAME = "random"
_ENDS = ("to_q", "to_k", "to_v", "to_out.0")


def random_lora(pipe: DiffusionPipeline, folder: Path) -> LocalAdapter:
    """A file of rank 8 for every attention of the denoiser, in PEFT's names; always the same.

    Raises: EngineFailed if the base has no attention of diffusers' kind.
    """
    component = "unet" if pipe.components.get("unet") is not None else "transformer"
    denoiser = pipe.components.get(component)
    noise = torch.Generator("cpu").manual_seed(0)
    state: dict[str, torch.Tensor] = {}
    for path, module in denoiser.named_modules() if denoiser is not None else ():
        if isinstance(module, torch.nn.Linear) and path.endswith(_ENDS):
            state |= _pair(f"{component}.{path}", module, noise)
    if not state:
        raise EngineFailed("the base has no attention of diffusers' kind; give --adapter")
    path = folder / f"{NAME}.safetensors"
    save_file(state, path)
    return LocalAdapter(AdapterUse(adapter=_pinned(path), scale=1.0), path)


def _pair(name: str, module: torch.nn.Linear, noise: torch.Generator) -> dict[str, torch.Tensor]:
    out, width = module.weight.shape
    down = torch.randn((RANK, width), generator=noise)
    up = torch.randn((out, RANK), generator=noise)
    # The sum over the ranks spreads as the root of their number.
    up *= STRENGTH * float(module.weight.detach().float().std()) / RANK**0.5
    return {f"{name}.lora_A.weight": down.half(), f"{name}.lora_B.weight": up.half()}


def _pinned(path: Path) -> Adapter:
    sha256 = sha256_of(path)
    return Adapter(
        id=NAME,
        location=f"blob:{sha256}",
        revision=f"sha256:{sha256}",
        sha256=sha256,
        bytes=path.stat().st_size,
        weight_name=path.name,
    )
