"""A picture without any queue: the API's plan and the worker's engine in one process."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from lorajobs.adapters.library import Library
from lorajobs.adapters.registry import MemoryLoraRegistry
from lorajobs.catalog import Catalog
from lorajobs.engine.base import LocalAdapter
from lorajobs.faults import Faults
from lorajobs.jobs import AppliedLora, JobWarning
from lorajobs.pictures import EncodedPicture, describe, encode
from lorajobs.plan import plan
from lorajobs.request import JobRequest
from lorajobs.settings import Settings
from lorajobs.spec import JobSpec
from lorajobs.storage import open_store

#: Told what is being done, and of the denoise steps how many are done and how many there are.
Progress = Callable[[str, int, int], None]


class Made(NamedTuple):
    """The encoded pictures with their seeds, and what was used for them."""

    pictures: Sequence[tuple[EncodedPicture, int]]
    spec: JobSpec
    applied: Sequence[AppliedLora]
    warnings: Sequence[JobWarning]


def make(
    request: Mapping[str, object], settings: Settings, catalog: Catalog, progress: Progress
) -> Made:
    """Makes what `request`, a body of `POST /v1/jobs`, asks for.

    Raises: RequestError, AttemptError.
    """
    library = Library(settings, catalog, MemoryLoraRegistry(), open_store(settings))
    parsed = JobRequest.parse(json.dumps(request).encode())
    spec, warnings, *_ = plan(parsed, catalog, library, lambda url: None)
    steps = spec.num_inference_steps
    progress(f"loading {spec.model}", 0, steps)
    # Takes seconds to import; a wrong request is refused before that.
    from lorajobs.engine.pipeline import DiffusersEngine

    engine = DiffusersEngine(catalog.require(spec.model), settings)
    engine.load()
    skipped: list[JobWarning] = []
    local: list[LocalAdapter] = []
    faults = Faults(spec.on_lora_error, skipped)
    with ExitStack() as held:
        for use in spec.loras:
            files = [held.enter_context(library.ensure(file)) for file in use.adapter.files]
            local.append(LocalAdapter(use, *(file.path for file in files)))
        applied = engine.apply(faults.without(local, engine))
    made = engine.generate(spec, lambda step: progress("denoising", step, steps))
    pictures = [
        (
            encode(
                picture.image,
                spec.output,
                describe(spec, picture.seed, applied) if settings.picture_metadata else None,
            ),
            picture.seed,
        )
        for picture in made.pictures
    ]
    return Made(pictures, spec, applied, (*warnings, *skipped, *made.warnings))
