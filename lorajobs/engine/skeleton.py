"""A base's modules without their weights, to see whether an adapter fits before anything loads."""

from pathlib import Path

import diffusers
import torch
import transformers

from lorajobs.errors import BaseLoadFailed

_LIBRARIES = {"diffusers": diffusers, "transformers": transformers}


def skeleton(folder: Path) -> diffusers.DiffusionPipeline:
    """The adaptable components of the pipeline in a folder, on the `meta` device.

    Only its configurations are read. Raises: BaseLoadFailed.
    """
    try:
        index = diffusers.DiffusionPipeline.load_config(folder, local_files_only=True)
        kind = getattr(diffusers, index["_class_name"])
        # Not its __init__, which wants the VAE, tokenizers and scheduler too.
        pipe = kind.__new__(kind)
        for name in getattr(kind, "_lora_loadable_modules", ()):
            library, component = index.get(name) or (None, None)
            if library is None or component is None:
                setattr(pipe, name, None)
                continue
            with torch.device("meta"):
                setattr(pipe, name, _component(library, component, folder / name))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BaseLoadFailed(f"{folder}: {error}") from error
    return pipe


def _component(library: str, name: str, folder: Path) -> torch.nn.Module:
    kind = getattr(_LIBRARIES[library], name)
    if library == "diffusers":
        made: torch.nn.Module = kind.from_config(kind.load_config(folder, local_files_only=True))
        return made
    built: torch.nn.Module = kind(kind.config_class.from_pretrained(folder, local_files_only=True))
    return built
