"""The engine on diffusers: one warm pipeline with a rack of adapters."""

import gc
import inspect
import logging
from collections.abc import Collection, Container, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
from PIL.Image import Image

from lorajobs.catalog import ModelEntry
from lorajobs.engine.base import Generation, LocalAdapter, OnStep, Picture, require_source
from lorajobs.engine.device import guarded, pick_device, pick_dtype
from lorajobs.engine.graphs import Graphs
from lorajobs.engine.libraries import hush
from lorajobs.engine.picture import picture_of
from lorajobs.engine.prompt_cache import PromptCache
from lorajobs.engine.prompts import readers, truncations, unspoken
from lorajobs.engine.rack import Rack
from lorajobs.engine.racks import open_rack
from lorajobs.engine.scheduler import fresh
from lorajobs.engine.snapshot import INDEX, HubRepo
from lorajobs.engine.speed import quicken
from lorajobs.engine.steps import StepWatch
from lorajobs.engine.token_rack import TokenRack
from lorajobs.engine.twin import twin
from lorajobs.engine.vocabulary import Vocabulary
from lorajobs.errors import BadPicture, BaseLoadFailed, EngineFailed, OutOfMemory
from lorajobs.jobs import AppliedLora, JobWarning
from lorajobs.settings import Settings
from lorajobs.spec import JobSpec

log = logging.getLogger(__name__)


class DiffusersEngine:
    """Implements `Engine` for any text-to-image pipeline of diffusers, and its twin."""

    def __init__(self, entry: ModelEntry, settings: Settings) -> None:
        """Loads nothing yet."""
        self._entry = entry
        self._settings = settings
        self._device = torch.device("cpu")
        self._pipe: diffusers.DiffusionPipeline = None
        self._rack: Rack | None = None
        self._graphs: Graphs | None = None
        self._prompts = PromptCache(lambda: self._loaded_rack().encoders())

    def load(self) -> None:
        """Loads the base onto the device.

        Raises: BaseLoadFailed naming what is missing where.
        """
        where = f"models.{self._entry.id}"
        try:
            self._load()
        except BaseLoadFailed as error:
            raise BaseLoadFailed(f"{where}: {error.detail}") from error
        except Exception as error:
            source = self._entry.path or self._entry.repo
            raise BaseLoadFailed(f"{where}: {source}: {error}") from error

    def preload(self, adapters: Sequence[LocalAdapter]) -> None:
        """Loads adapters so that `apply` finds them ready; none becomes active.

        Raises: LoraRefused, LoraNotApplied, OutOfMemory, EngineFailed; the base is bare then.
        """
        guarded(lambda: self._loaded_rack().preload(adapters))

    def stage(self, adapters: Sequence[LocalAdapter]) -> None:
        """Brings adapters into host memory while another thread generates.

        Raises: LoraRefused, LoraNotApplied, OutOfMemory, EngineFailed; nothing becomes of it.
        """
        guarded(lambda: self._loaded_rack().stage(adapters))

    def apply(self, adapters: Sequence[LocalAdapter]) -> Sequence[AppliedLora]:
        """Makes exactly these adapters active, and verifies it; does nothing if they are.

        Raises: LoraRefused, LoraNotApplied, OutOfMemory, EngineFailed; the base is bare then.
        """
        return guarded(lambda: self._loaded_rack().activate(adapters))

    def applied(self) -> Sequence[AppliedLora]:
        """The adapters active now."""
        return self._rack.applied if self._rack else ()

    def resident(self) -> Collection[str]:
        """The adapters in host memory by content, which is their SHA-256 unless PEFT adds to it."""
        return self._rack.resident() if self._rack else ()

    def placement(self) -> str:
        """Where the pristine weights lie, one of `Placement`."""
        return self._rack.placement if self._rack else ""

    def check(self) -> None:
        """Compares a sample of the weights in memory with what they must be, to the bit.

        Raises: BaseCorrupt, OutOfMemory, EngineFailed.
        """
        guarded(lambda: self._loaded_rack().check())

    def close(self) -> None:
        """Gives back the device's memory."""
        self._pipe, self._rack, self._graphs = None, None, None
        self._prompts.clear()
        gc.unfreeze()
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def generate(self, spec: JobSpec, on_step: OnStep, source: Image | None = None) -> Generation:
        """Makes `num_images` pictures, image i with seed + i, each on its own.

        So a picture does not depend on how many were asked for. Raises: BadPicture, OutOfMemory,
        EngineFailed, and what `on_step` raises; the pipeline stays usable.
        """
        try:
            return guarded(lambda: self._generate(spec, on_step, source))
        except OutOfMemory as error:
            if self._graphs is None or not self._graphs.count:
                raise
            log.warning("job again without its recorded steps: %s", error.detail)
            self._graphs.release()
        return guarded(lambda: self._generate(spec, on_step, source))

    def _load(self) -> None:
        hush()
        entry, settings = self._entry, self._settings
        self._device = pick_device(settings.device)
        if self._device.type == "cpu":
            torch.set_num_threads(settings.torch_threads)
        folder = _folder(entry.path, entry.repo, entry.revision, entry.variant, settings)
        if not (folder / INDEX).is_file():
            raise BaseLoadFailed(f"{folder} has no {INDEX}, so it is not a diffusers pipeline")
        index = diffusers.DiffusionPipeline.load_config(folder)
        options: dict[str, Any] = {
            "dtype": pick_dtype(
                entry.dtype, self._device, has_transformer=bool(index.get("transformer"))
            ),
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
        self._pipe = pipe.to(self._device)
        cache_bytes = settings.host_cache_mb << 20
        rack = open_rack(self._pipe, self._device, entry.placement, cache_bytes)
        self._rack = TokenRack(rack, Vocabulary(self._pipe))
        self._prompts.install(self._pipe)
        budget = settings.graph_memory_mb << 20
        self._graphs = quicken(self._pipe, self._device, entry.speed, rack.placement, budget)
        # What a base is made of outlives every job: no later collection needs to look at it, which
        # takes 0.1 to 0.3 s and would fall into the reading of an adapter.
        gc.collect()
        gc.freeze()

    def _loaded_rack(self) -> Rack:
        if self._rack is None:
            raise EngineFailed("load() was never called")
        return self._rack

    def _generate(self, spec: JobSpec, on_step: OnStep, source: Image | None) -> Generation:
        applied = self._loaded_rack().applied
        require_source(spec, source)
        pipe = self._pipe
        if source:
            pipe = twin(pipe)
            self._prompts.install(pipe)
        parameters = inspect.signature(pipe.__call__).parameters
        arguments: dict[str, Any] = {
            "prompt": spec.prompt,
            "num_inference_steps": spec.num_inference_steps,
            "guidance_scale": spec.guidance_scale,
            "callback_on_step_end": StepWatch(spec.steps, on_step),
            "output_type": "pt",
        }
        if source:
            arguments |= {"image": source, "strength": spec.strength}
        # Some twins take the size of the picture instead.
        if source is None or "width" in parameters:
            arguments |= {"width": spec.width, "height": spec.height}
        ignored = _why_negative_is_ignored(spec, pipe, parameters)
        sequence = parameters.get("max_sequence_length")
        # The tokenizers of now: an adapter may have brought tokens.
        found = readers(self._pipe.components, sequence.default if sequence else None)
        warnings = truncations(spec, found, negative=ignored is None)
        warnings += unspoken(spec, applied)
        if ignored is None:
            # None is not "" for every base: SDXL's own guidance is away from zeros then.
            arguments["negative_prompt"] = spec.negative_prompt or None
        elif spec.negative_prompt:
            warnings.append(JobWarning(code="negative_prompt_ignored", detail=ignored))
        seeds = range(spec.seed, spec.seed + spec.num_images)
        pictures = [self._picture(pipe, arguments, spec.scheduler, seed) for seed in seeds]
        return Generation(pictures, warnings)

    def _picture(
        self,
        pipe: diffusers.DiffusionPipeline,
        arguments: dict[str, Any],
        scheduler: str | None,
        seed: int,
    ) -> Picture:
        base = self._pipe.scheduler
        pipe.scheduler = fresh(base, scheduler)
        try:
            # On the CPU, so that a seed means the same noise on every device.
            made = pipe(generator=torch.Generator("cpu").manual_seed(seed), **arguments)
        finally:
            pipe.scheduler = base
        image = picture_of(made.images)
        flags = getattr(made, "nsfw_content_detected", None)
        if any(flags or ()):
            # Of what it flags, the base's own checker leaves a black picture.
            return Picture(image, seed, True, "the base's own safety checker flagged it")
        if image.getcolors(1):
            raise BadPicture("every pixel of the picture is the same")
        return Picture(image, seed, None if flags is None else False)


def _why_negative_is_ignored(
    spec: JobSpec, pipe: diffusers.DiffusionPipeline, parameters: Container[str]
) -> str | None:
    # Flux's own guidance is distilled: its negative prompt needs a second kind of guidance.
    if "negative_prompt" not in parameters or "true_cfg_scale" in parameters:
        return f"{type(pipe).__name__} takes no negative prompt"
    if spec.guidance_scale <= 1:
        return "a negative prompt has no effect unless guidance_scale is above 1"
    return None


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
