"""An engine that paints with Pillow: no torch, no weights, milliseconds a picture.

For the tests of those who build on lorajobs. Like a diffusion engine it is deterministic in prompt,
seed, size and adapters, and every one of them, each scale included, changes the picture.
"""

import hashlib
import random
import re
import time
from collections.abc import Callable, Collection, Sequence

from PIL import Image, ImageDraw

from lorajobs.engine.base import (
    DeviceFault,
    Generation,
    LocalAdapter,
    OnStep,
    Picture,
    require_source,
)
from lorajobs.errors import (
    BadPicture,
    EngineFailed,
    LoraNotApplied,
    OutOfMemory,
    TimeLimit,
)
from lorajobs.jobs import AppliedLora
from lorajobs.spec import JobSpec

_FAILURES: dict[str, Callable[[str], Exception]] = {
    **{error.code: error for error in (BadPicture, EngineFailed, OutOfMemory, TimeLimit)},
    "device_fault": DeviceFault,
}
_FAIL = re.compile(r"\bfail:(\w+)")
_SHAPES = 6


class PaintEngine:
    """Implements `Engine`.

    A prompt with the word `fail:<code>`, such as `fail:oom`, `fail:bad_picture` or `fail:internal`,
    raises that error after half of the steps.
    """

    def __init__(self, step_s: float = 0.0, swap_s: float = 0.0, load_s: float = 0.0) -> None:
        """How many seconds a denoise step, a change of the adapters and loading the base take."""
        self._load_s = load_s
        self._step_s = step_s
        self._swap_s = swap_s
        self._loaded = False
        self._applied: tuple[AppliedLora, ...] = ()
        self._staged: set[str] = set()

    def load(self) -> None:
        """Nothing to load, but nothing works before."""
        time.sleep(self._load_s)
        self._loaded = True

    def check(self) -> None:
        """Has no weights."""

    def footprint(self) -> int:
        """As if its weights took a byte."""
        return 1

    def park(self, *, free: bool = False) -> None:
        """Nothing works until it is back, and no adapter is applied then."""
        self._loaded, self._applied = False, ()

    def unpark(self) -> None:
        """It works again, at once."""
        self._loaded = True

    def close(self) -> None:
        """Nothing works any more."""
        self._loaded = False

    def preload(self, adapters: Sequence[LocalAdapter]) -> None:
        """Checks that the files are there.

        Raises: LoraNotApplied.
        """
        for use, *files in adapters:
            for path in filter(None, files):
                if not path.is_file():
                    raise LoraNotApplied(f"{use.adapter.id}: no file {path}")

    def stage(self, adapters: Sequence[LocalAdapter]) -> None:
        """Notes them as resident.

        Raises: LoraNotApplied.
        """
        self.preload(adapters)
        self._staged |= {sha for use, *_ in adapters for sha in use.adapter.key.split("+")}

    def apply(self, adapters: Sequence[LocalAdapter]) -> Sequence[AppliedLora]:
        """Paints with these adapters from now on.

        Raises: LoraNotApplied if a file is missing.
        """
        before, self._applied = self._applied, ()
        self.preload(adapters)
        wanted = tuple(
            AppliedLora(
                id=use.adapter.id,
                revision=use.adapter.revision,
                sha256=use.adapter.sha256,
                scale=use.scale,
                embeddings_sha256=use.adapter.embeddings and use.adapter.embeddings.sha256,
                tokens=use.adapter.embeddings.tokens if use.adapter.embeddings else (),
            )
            for use, *_ in adapters
        )
        if wanted != before:
            time.sleep(self._swap_s)
        self._applied = wanted
        return self._applied

    def applied(self) -> Sequence[AppliedLora]:
        """The adapters painted with now."""
        return self._applied

    def resident(self) -> Collection[str]:
        """Those that are applied, and those that were staged."""
        return self._staged | {sha for lora in self._applied for sha in lora.key.split("+")}

    def placement(self) -> str:
        """It has no weights."""
        return ""

    def generate(
        self, spec: JobSpec, on_step: OnStep, source: Image.Image | None = None
    ) -> Generation:
        """Paints `num_images` pictures, image i with seed + i, over `source` as far as asked for.

        Raises: the error that the prompt asks for; EngineFailed before `load`.
        """
        if not self._loaded:
            raise EngineFailed("load() was never called")
        require_source(spec, source)
        seeds = range(spec.seed, spec.seed + spec.num_images)
        for step in range(1, spec.all_steps + 1):
            time.sleep(self._step_s)
            if step > spec.all_steps // 2:
                _fail_if_asked(spec.prompt)
            on_step(step)
        pictures = [Picture(self._paint(spec, seed, source), seed) for seed in seeds]
        return Generation(lambda: pictures, [])

    def _paint(self, spec: JobSpec, seed: int, source: Image.Image | None) -> Image.Image:
        marks = sorted(f"{lora.key}@{lora.scale}" for lora in self._applied)
        told = (spec.model, spec.prompt, spec.negative_prompt, spec.num_inference_steps)
        brush = _brush(*told, spec.guidance_scale, spec.scheduler, seed, *marks)
        image = Image.new("RGB", (spec.width, spec.height), _color(brush))
        draw = ImageDraw.Draw(image)
        for _ in range(_SHAPES):
            x, y = brush.random() * spec.width, brush.random() * spec.height
            radius = (0.1 + 0.2 * brush.random()) * min(image.size)
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_color(brush))
        if source:
            image = Image.blend(source, image, spec.strength or 0)
            draw = ImageDraw.Draw(image)
        # A frame for each adapter, in its colour, so that an eye sees which ones are on.
        for index, mark in enumerate(marks):
            inset = 3 * index
            box = (inset, inset, spec.width - 1 - inset, spec.height - 1 - inset)
            draw.rectangle(box, outline=_color(_brush(mark)), width=2)
        return image


def _fail_if_asked(prompt: str) -> None:
    asked = _FAIL.search(prompt)
    if asked and asked[1] in _FAILURES:
        raise _FAILURES[asked[1]](f"the prompt asked for {asked[1]}")


def _brush(*told: object) -> random.Random:
    return random.Random(hashlib.sha256(repr(told).encode()).digest())


def _color(brush: random.Random) -> tuple[int, int, int]:
    return brush.randrange(256), brush.randrange(256), brush.randrange(256)
