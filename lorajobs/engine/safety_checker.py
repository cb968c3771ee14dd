"""The image checker `diffusers`: its CLIP-based safety checker, with its own thresholds."""

from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL.Image import Image

from lorajobs.engine.attention import undisturbed
from lorajobs.engine.device import guarded, pick_device, pick_dtype
from lorajobs.engine.libraries import hush
from lorajobs.engine.snapshot import HubRepo
from lorajobs.errors import ConfigError, LoraJobsError
from lorajobs.moderation import Flag
from lorajobs.settings import Settings

#: Where a whole pipeline, such as Stable Diffusion 1.5, has the model and its processor.
MODEL, PROCESSOR = "safety_checker", "feature_extractor"


class SafetyChecker:
    """Flags what is closer to one of 17 concepts than its threshold.

    Source: Rando et al., Red-Teaming the Stable Diffusion Safety Filter, 2022.
    """

    def __init__(self, model: Path, processor: Path, device: torch.device) -> None:
        """Loads the model onto the device, in half precision on an accelerator."""
        hush()
        local = {"local_files_only": True, "use_safetensors": True}
        dtype = pick_dtype("auto", device, has_transformer=False)
        checker = StableDiffusionSafetyChecker.from_pretrained(model, dtype=dtype, **local)
        self._model = checker.eval().to(device)
        # Named here and not above: once hushed, transformers says nothing of its second backend.
        processors = transformers.CLIPImageProcessor
        self._processor = processors.from_pretrained(processor, local_files_only=True)

    @classmethod
    def of(cls, settings: Settings) -> "SafetyChecker":
        """The model that the settings name: a folder or repository of it alone or of a pipeline.

        Raises: ConfigError.
        """
        source = settings.safety_checker
        try:
            folder = _folder(source, settings)
            model, processor = folder / MODEL, folder / PROCESSOR
            if not model.is_dir():
                model = processor = folder
            return cls(model, processor, pick_device(settings.device))
        except Exception as error:
            detail = error.detail if isinstance(error, LoraJobsError) else str(error)
            raise ConfigError(f"LORAJOBS_SAFETY_CHECKER: {source}: {detail}") from error

    def check(self, images: Sequence[Image]) -> Sequence[Flag]:
        """A flag for each picture.

        Raises: OutOfMemory, EngineFailed.
        """
        return guarded(lambda: self._check(images))

    def _check(self, images: Sequence[Image]) -> Sequence[Flag]:
        pixels = self._processor(list(images), return_tensors="pt").pixel_values
        # The model blackens what it flags in the pictures that it is given: none of ours.
        spare = torch.zeros(len(images), 1)
        # In the finisher's thread, while the next job denoises.
        with undisturbed():
            _, flagged = self._model(
                clip_input=pixels.to(self._model.device, self._model.dtype), images=spare
            )
        return [Flag(nsfw, "the safety checker flagged it" if nsfw else "") for nsfw in flagged]


def _folder(source: str, settings: Settings) -> Path:
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    repo, _, revision = source.partition("@")
    return HubRepo(repo, revision or None, settings).folder(None, (MODEL, PROCESSOR))
