"""A picture without any queue: the API's plan and the worker's engine in one process."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from lorajobs.adapters.library import Library
from lorajobs.adapters.registry import MemoryLoraRegistry
from lorajobs.catalog import Catalog, ModelEntry
from lorajobs.engine.base import LocalAdapter, Picture
from lorajobs.faults import Faults
from lorajobs.image_errors import ImageNotFound
from lorajobs.image_url import ImageUrls
from lorajobs.jobs import AppliedLora, JobWarning
from lorajobs.moderation import PromptGate, image_checker, require_image_checker
from lorajobs.pictures import EncodedPicture, describe, encode
from lorajobs.pipelines import Pipelines
from lorajobs.plan import plan
from lorajobs.request import JobRequest
from lorajobs.screening import require_any, screened
from lorajobs.settings import Settings
from lorajobs.source_picture import SourcePicture, opened, read_picture
from lorajobs.spec import JobSpec
from lorajobs.storage import open_store

#: Told what is being done, and of the denoise steps how many are done and how many there are.
Progress = Callable[[str, int, int], None]


class Made(NamedTuple):
    """The encoded pictures with their seeds, but those withheld, and what was used for them."""

    pictures: Sequence[tuple[EncodedPicture, int]]
    spec: JobSpec
    applied: Sequence[AppliedLora]
    warnings: Sequence[JobWarning]


class OwnFiles:
    """The pictures that our own user may start from: files on this machine, and URLs."""

    def __init__(self, settings: Settings) -> None:
        self._pipelines = Pipelines(settings)
        self._urls = ImageUrls(settings)
        self._max_pixels = settings.image_max_pixels

    def pipeline_of(self, base: ModelEntry) -> str:
        """See `Pipelines.of`."""
        return self._pipelines.of(base)

    def open(self, reference: str) -> SourcePicture:
        """Reads a file, or fetches a URL.

        Raises: ImageNotFound, ImageInvalid, ImageTooLarge, UrlNotAllowed, ImageFetchFailed.
        """
        if reference.startswith(("https://", "http://")):
            return read_picture(self._urls.fetch(reference), self._max_pixels)
        try:
            return read_picture(Path(reference).expanduser().read_bytes(), self._max_pixels)
        except OSError as error:
            raise ImageNotFound(f"{reference}: {error.strerror}") from error


def make(
    request: Mapping[str, object], settings: Settings, catalog: Catalog, progress: Progress
) -> Made:
    """Makes what `request`, a body of `POST /v1/jobs`, asks for.

    Raises: RequestError, AttemptError, PromptCheckFailed, ConfigError.
    """
    library = Library(settings, catalog, MemoryLoraRegistry(), open_store(settings))
    parsed = JobRequest.parse(json.dumps(request).encode())
    spec, warnings, _, _, png = plan(
        parsed, catalog, library, lambda url: None, sources=OwnFiles(settings)
    )
    PromptGate.of(settings).admit(spec)
    require_image_checker(settings)
    steps = spec.all_steps
    progress(f"loading {spec.model}", 0, steps)
    # Takes seconds to import; a wrong request is refused before that.
    from lorajobs.engine.pipeline import DiffusersEngine

    checker = image_checker(settings)
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
    source = opened(png) if png else None
    made = engine.generate(spec, lambda step: progress("denoising", step, steps), source)
    screen = screened(made.pictures, checker)
    require_any(screen.pictures)

    def encoded(picture: Picture) -> EncodedPicture:
        about = describe(spec, picture.seed, applied) if settings.picture_metadata else None
        return encode(picture.image, spec.output, about)

    pictures = [(encoded(one), one.seed) for one in screen.pictures if not one.nsfw]
    return Made(pictures, spec, applied, (*warnings, *skipped, *made.warnings, *screen.warnings))
