"""The class of each base's pipeline, known without loading the base."""

import tempfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lorajobs.adapters.family import MODEL_INDEX, class_of
from lorajobs.adapters.location import HubFile
from lorajobs.catalog import ModelEntry
from lorajobs.errors import HubGated, LoraFetchFailed, LoraNotFound
from lorajobs.image_errors import PipelineUnknown
from lorajobs.settings import Settings

if TYPE_CHECKING:
    from lorajobs.adapters.hub import HubSource


class Pipelines:
    """Reads a base's index: from its folder, the hub's cache, or once from the hub."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[str, str] = {}

    @cached_property
    def _hub(self) -> "HubSource":
        # Its client takes a while to import, and a folder does without.
        from lorajobs.adapters.hub import HubSource

        return HubSource(self._settings)

    def of(self, base: ModelEntry) -> str:
        """The name of the class in diffusers.

        Raises: PipelineUnknown.
        """
        if base.id not in self._known:
            self._known[base.id] = self._read(base)
        return self._known[base.id]

    def _read(self, base: ModelEntry) -> str:
        if base.path:
            found = class_of(base.path / MODEL_INDEX)
        else:
            cached = self._hub.cached(str(base.repo), base.revision, MODEL_INDEX)
            found = class_of(cached) if cached else self._asked(base)
        if found is None:
            raise PipelineUnknown(f"{base.id}: its {MODEL_INDEX} names no pipeline")
        return found

    def _asked(self, base: ModelEntry) -> str | None:
        file = HubFile(str(base.repo), base.revision or "main", MODEL_INDEX)
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, MODEL_INDEX)
            try:
                self._hub.fetch(file, trusted=True, target=target)
            except (HubGated, LoraFetchFailed, LoraNotFound) as error:
                raise PipelineUnknown(f"{base.id}: {error.detail}") from error
            return class_of(target)
