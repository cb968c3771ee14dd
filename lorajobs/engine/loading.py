"""Loads the pipeline of a base with diffusers, from a folder or the hub."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch

from lorajobs.catalog import ModelEntry
from lorajobs.engine.device import pick_dtype
from lorajobs.engine.scheduler import fresh
from lorajobs.engine.snapshot import INDEX, HubRepo
from lorajobs.errors import BaseLoadFailed, EngineFailed
from lorajobs.settings import Settings


def load_pipeline(
    entry: ModelEntry, settings: Settings, device: torch.device
) -> diffusers.DiffusionPipeline:
    """A base in the precision for this device, in the host's memory.

    Most of it is not read yet, but mapped. Raises: BaseLoadFailed, and what diffusers raises.
    """
    folder = _folder(entry.path, entry.repo, entry.revision, entry.variant, settings)
    if not (folder / INDEX).is_file():
        raise BaseLoadFailed(f"{folder} has no {INDEX}, so it is not a diffusers pipeline")
    index = diffusers.DiffusionPipeline.load_config(folder)
    options: dict[str, Any] = {
        "dtype": pick_dtype(entry.dtype, device, has_transformer=bool(index.get("transformer"))),
        "use_safetensors": True,
        "local_files_only": True,
    }
    if entry.vae:
        vae = _folder(entry.vae.path, entry.vae.repo, entry.vae.revision, None, settings)
        options["vae"] = diffusers.AutoModel.from_pretrained(str(vae), **options)
    # What the base was saved without, such as SD3's T5, must be said once more.
    options |= {name: None for name, part in index.items() if part == [None, None]}
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder, variant=entry.variant, **options)
    pipe.set_progress_bar_config(disable=True)
    for name in entry.schedulers:
        _require_scheduler(pipe.scheduler, name)
    if entry.vae_tiling:
        pipe.vae.enable_tiling()
    return pipe


def models_of(pipe: diffusers.DiffusionPipeline) -> Mapping[str, torch.nn.Module]:
    """What has weights among a pipeline's components."""
    return {n: m for n, m in pipe.components.items() if isinstance(m, torch.nn.Module)}


def _folder(
    path: Path | None,
    repo: str | None,
    revision: str | None,
    variant: str | None,
    settings: Settings,
) -> Path:
    if path is None:
        return HubRepo(str(repo), revision, settings).folder(variant)
    if not path.is_dir():
        raise BaseLoadFailed(f"there is no folder {path}")
    return path


def _require_scheduler(base: diffusers.SchedulerMixin, name: str) -> None:
    try:
        fresh(base, name)
    except EngineFailed as error:
        raise BaseLoadFailed(f"schedulers: {error.detail}") from error
