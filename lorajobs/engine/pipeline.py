"""The engine on diffusers: one warm pipeline with a rack of adapters."""

import gc
import inspect
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import chain, count, islice
from typing import Any

import diffusers
import torch
from PIL.Image import Image

from lorajobs.catalog import ModelEntry
from lorajobs.engine.base import Generation, LocalAdapter, OnStep, Picture, require_source
from lorajobs.engine.batching import Batching, batching_of, seeded, size_of, step_time
from lorajobs.engine.compiled import CompiledCode
from lorajobs.engine.device import guarded, guarded_with_room, pick_device
from lorajobs.engine.ferry import bring
from lorajobs.engine.garage import Garage, Stay
from lorajobs.engine.graphs import Graphs
from lorajobs.engine.libraries import hush
from lorajobs.engine.loading import load_pipeline, models_of
from lorajobs.engine.picture import looked_at, sent
from lorajobs.engine.prompt_cache import PromptCache
from lorajobs.engine.prompts import readers, truncations, unspoken, why_negative_is_ignored
from lorajobs.engine.rack import Rack
from lorajobs.engine.racks import open_rack
from lorajobs.engine.scheduler import fresh
from lorajobs.engine.speed import kept_code, quicken
from lorajobs.engine.steps import StepWatch
from lorajobs.engine.token_rack import TokenRack
from lorajobs.engine.twin import twin
from lorajobs.engine.upcast import kept_decoder
from lorajobs.engine.vocabulary import Vocabulary
from lorajobs.errors import BaseLoadFailed, EngineFailed
from lorajobs.jobs import AppliedLora, JobWarning
from lorajobs.settings import Settings
from lorajobs.spec import JobSpec


class DiffusersEngine:
    """Implements `Engine` for any text-to-image pipeline of diffusers, and its twin."""

    def __init__(self, entry: ModelEntry, settings: Settings, garage: Garage | None = None) -> None:
        """Loads nothing yet; in a garage a base can be parked."""
        self._entry = entry
        self._settings = settings
        self._device = torch.device("cpu")
        self._pipe: diffusers.DiffusionPipeline = None
        self._rack: Rack | None = None
        self._graphs: Graphs | None = None
        self._garage = garage
        self._stay: Stay | None = None
        self._code: CompiledCode | None = None
        self._batching = Batching(allowed=False)
        self._put_back: Callable[[], None] = lambda: None
        self._prompts = PromptCache(lambda: self._loaded_rack().encoders())

    def load(self) -> None:
        """Loads the base onto the device.

        Raises: BaseLoadFailed naming what is missing where.
        """
        where = f"models.{self._entry.id}"
        try:
            self._load()
        except BaseLoadFailed as error:
            self.close()
            raise BaseLoadFailed(f"{where}: {error.detail}") from error
        except Exception as error:
            self.close()
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
        call = partial(self._activate, adapters)
        return guarded_with_room(call, lambda: self._forget_steps() > 0)

    def applied(self) -> Sequence[AppliedLora]:
        """The adapters active now."""
        return self._rack.applied if self._rack else ()

    def resident(self) -> Collection[str]:
        """The adapters in host memory by content, which is their SHA-256 unless PEFT adds to it."""
        # The fetcher asks too, while another base may take this one's place.
        rack = self._rack
        return rack.resident() if rack else ()

    def placement(self) -> str:
        """Where the pristine weights lie, one of `Placement`."""
        return self._rack.placement if self._rack else ""

    def check(self) -> None:
        """Compares a sample of the weights in memory with what they must be, to the bit.

        Raises: BaseCorrupt, OutOfMemory, EngineFailed.
        """
        guarded(lambda: self._loaded_rack().check())

    def footprint(self) -> int:
        """Host memory that it can be parked in, bytes; 0 if it cannot be."""
        return self._stay.size if self._stay else 0

    def park(self, *, free: bool = False) -> None:
        """Lets another base have the device, with its recorded steps; with `free` its memory too.

        Raises: OutOfMemory, EngineFailed; it can only be closed then.
        """
        guarded(partial(self._activate, ()))
        self._prompts.clear()
        if self._stay:
            guarded(partial(self._stay.leave, free=free))

    def unpark(self) -> None:
        """Is on the device again, bare.

        Raises: OutOfMemory, EngineFailed; it can only be closed then.
        """
        if self._stay:
            guarded(self._stay.enter)

    def close(self) -> None:
        """Gives back the device's memory.

        Raises: DeviceFault.
        """
        guarded(self._close)

    def generate(self, spec: JobSpec, on_step: OnStep, source: Image | None = None) -> Generation:
        """Makes `num_images` pictures, image i with seed + i, together where that pays.

        On a CPU each on its own, so that it does not depend on how many were asked for. Returns
        while a GPU decodes the last one. Raises: OutOfMemory, EngineFailed, and what `on_step`
        raises; the pipeline stays usable.
        """

        def make_room() -> bool:
            together = spec.num_images > 1 and self._batching.give_up(size_of(spec))
            return self._forget_steps() > 0 or together

        return guarded_with_room(partial(self._generate, spec, on_step, source), make_room)

    def _load(self) -> None:
        hush()
        entry, settings = self._entry, self._settings
        self._device = pick_device(settings.device)
        if self._device.type == "cpu":
            torch.set_num_threads(settings.torch_threads)
        # What is here already needs no look while thousands of modules are made; what jobs on the
        # base before left behind may hold the device's memory.
        if gc.get_freeze_count():
            gc.collect()
        gc.freeze()
        pipe = load_pipeline(entry, settings, self._device)
        self._stay = self._garage.admit(pipe, entry) if self._garage else None
        if self._stay is None:
            bring(models_of(pipe).values(), self._device)
        self._pipe = pipe.to(self._device)
        rack = self._stay.rack if self._stay else self._open_rack()
        self._rack = TokenRack(rack, Vocabulary(self._pipe))
        self._prompts.install(self._pipe)
        self._put_back = kept_decoder(self._pipe)
        budget = settings.graph_memory_mb << 20
        self._code = kept_code(entry.id, entry.speed, self._device, settings.data_dir)
        quick = (self._device, entry, rack.placement, budget, self._code)
        self._graphs = quicken(self._pipe, *quick)
        if self._garage and self._graphs:
            self._garage.watch(self._graphs)
        self._batching = batching_of(self._pipe, self._device, entry)
        # What a base is made of outlives every job: no later collection needs to look at it, which
        # takes 0.1 to 0.3 s and would fall into the reading of an adapter.
        gc.collect()
        gc.freeze()

    def _close(self) -> None:
        self._pipe, self._rack, self._graphs, self._stay = None, None, None, None
        # It knows where weights are.
        self._put_back = lambda: None
        self._prompts.clear()
        gc.unfreeze()
        gc.collect()
        if self._garage:
            self._garage.dismiss(self._entry.id)
        is_awake: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        if self._device.type == "cuda" and is_awake:
            # Here a lost device shows, which may be why it could not be loaded.
            torch.cuda.synchronize(self._device)
            torch.cuda.empty_cache()

    def _forget_steps(self) -> int:
        """Gives back the memory of recorded steps, parked bases' too; how many there were."""
        if self._garage:
            return self._garage.forget_graphs()
        return self._graphs.release() if self._graphs else 0

    def _open_rack(self) -> Rack:
        cache_bytes = self._settings.host_cache_mb << 20
        return open_rack(self._pipe, self._device, self._entry.placement, cache_bytes)

    def _loaded_rack(self) -> Rack:
        if self._rack is None:
            raise EngineFailed("load() was never called")
        if self._stay and not self._stay.is_here:
            raise EngineFailed("the base is parked")
        return self._rack

    def _activate(self, adapters: Sequence[LocalAdapter]) -> Sequence[AppliedLora]:
        return self._loaded_rack().activate(adapters)

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
            "output_type": "pt",
        }
        if source:
            arguments |= {"image": source, "strength": spec.strength}
        # Some twins take the size of the picture instead.
        if source is None or "width" in parameters:
            arguments |= {"width": spec.width, "height": spec.height}
        ignored = why_negative_is_ignored(spec, type(pipe).__name__, parameters)
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
        watch, seeds = StepWatch(spec.steps, on_step), count(spec.seed)
        coming = [
            self._pictures(pipe, arguments, spec.scheduler, watch, [*islice(seeds, number)])
            for number in self._parts(spec, arguments, on_step)
        ]
        if self._code:
            self._code.keep()
        return Generation(lambda: guarded(lambda: [*chain(*(made() for made in coming))]), warnings)

    def _parts(self, spec: JobSpec, arguments: dict[str, Any], on_step: OnStep) -> Sequence[int]:
        """How many of its pictures are denoised together each time."""
        asked = arguments | {"width": spec.width, "height": spec.height}
        tried: set[int] = set()

        def step_s(number: int) -> float:
            tried.add(number)
            return guarded(lambda: step_time(self._pipe, asked, number, on_step))

        parts = self._batching.parts(size_of(spec), spec.num_images, step_s)
        if self._graphs and tried - {1, *parts}:
            # Of batches that do not pay.
            self._graphs.release()
        return parts

    def _pictures(
        self,
        pipe: diffusers.DiffusionPipeline,
        arguments: dict[str, Any],
        scheduler: str | None,
        watch: StepWatch,
        seeds: Sequence[int],
    ) -> Callable[[], Sequence[Picture]]:
        base = self._pipe.scheduler
        pipe.scheduler = fresh(base, scheduler)
        try:
            made = pipe(**seeded(arguments, seeds), callback_on_step_end=watch)
        finally:
            pipe.scheduler = base
            self._put_back()
        images = sent(watch.latents, made.images)
        flags = getattr(made, "nsfw_content_detected", None) or [None] * len(seeds)
        return lambda: [looked_at(*one) for one in zip(images(), seeds, flags, strict=True)]
