"""The usual way to serve adapters: one process, in order, `load_lora_weights` and `fuse_lora`.

As its users' programs have it at their best: an adapter is changed only when the next job names
another, its picture is encoded and uploaded before the next job, or both in a thread.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import torch
from diffusers import DiffusionPipeline
from PIL.Image import Image

from bench.stopwatch import Stopwatch
from bench.turns import Turn
from bench.worker_bed import GUIDANCE, Bed, Wish
from lorajobs.pictures import encode
from lorajobs.spec import OutputFormat
from lorajobs.storage.base import ObjectStore

#: Uploads at once where they have threads.
THREADS = 2


class Served(NamedTuple):
    """What came of some jobs; seconds of the wall clock."""

    begin: float
    end: float
    turns: Sequence[Turn]
    #: what each change of adapter took
    swaps: Sequence[float]


class UsualWay:
    """A warm pipeline with a stopwatch on it."""

    def __init__(self, bed: Bed, objects: ObjectStore) -> None:
        self._bed = bed
        self._objects = objects
        scale = bed.scale
        if scale.device == "cuda":
            # The bed was made in this process.
            torch.cuda.reset_peak_memory_stats()
        self._pipe = DiffusionPipeline.from_pretrained(bed.base, dtype=getattr(torch, scale.dtype))
        self._pipe.set_progress_bar_config(disable=True)
        self._pipe.to(scale.device)
        self._watch = Stopwatch(self._pipe, torch.device(scale.device))
        self._active = ""

    def serve(self, wishes: Sequence[Wish], output: OutputFormat, *, threaded: bool) -> Served:
        """Makes all pictures in order, once the first adapter is on and one was made."""
        if self._active != wishes[0].adapter:
            self._change(wishes[0].adapter)
        # The first picture of a size takes longer.
        self._picture(wishes[0])
        self._watch.turn(0)
        turns, swaps, uploads = [], [], list[Future[None]]()
        with ThreadPoolExecutor(THREADS) as pool:
            begin = time.time()
            for wish in wishes:
                self._watch.mark("apply")
                if wish.adapter != self._active:
                    swaps.append(self._change(wish.adapter))
                image = self._picture(wish)
                turns.append(self._watch.turn(wish.seed)())
                if threaded:
                    uploads.append(pool.submit(self._upload, image, wish, output))
                else:
                    self._upload(image, wish, output)
            for upload in uploads:
                upload.result()
        return Served(begin, time.time(), turns, swaps)

    def _change(self, adapter: str) -> float:
        begun = time.perf_counter()
        if self._active:
            self._watch.timed("fuse", self._pipe.unfuse_lora)()
            self._pipe.unload_lora_weights()
        self._pipe.load_lora_weights(str(self._bed.file(adapter)))
        self._watch.timed("fuse", self._pipe.fuse_lora)()
        self._active = adapter
        return time.perf_counter() - begun

    def _picture(self, wish: Wish) -> Image:
        image: Image = self._pipe(
            prompt=wish.prompt,
            width=wish.pixels,
            height=wish.pixels,
            num_inference_steps=self._bed.scale.steps,
            guidance_scale=GUIDANCE,
            generator=torch.Generator("cpu").manual_seed(wish.seed),
        ).images[0]
        self._watch.mark("made")
        return image

    def _upload(self, image: Image, wish: Wish, output: OutputFormat) -> None:
        encoded = encode(image, output, None)
        self._objects.put(f"usual/{wish.seed}.{output.format}", encoded.data, encoded.content_type)
