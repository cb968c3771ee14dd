"""From a reference to an adapter pinned to bytes, and from that to a file on this machine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from lorajobs.adapters import tokens
from lorajobs.adapters.cache import DiskCache, Held
from lorajobs.adapters.card import Card
from lorajobs.adapters.family import MODEL_INDEX, UNET_CONFIG, of_files
from lorajobs.adapters.folder import (
    MAX_CONFIG_BYTES,
    Choice,
    Folder,
    Trust,
    choose,
    peft_config,
)
from lorajobs.adapters.header import Header, parse_header, read_header
from lorajobs.adapters.location import Blob, Location, parse_location
from lorajobs.adapters.looks import Found, Looks
from lorajobs.adapters.reference import PathReference, Reference
from lorajobs.adapters.sources import Sources
from lorajobs.catalog import ModelEntry
from lorajobs.document import without_secrets
from lorajobs.errors import (
    HubGated,
    LoraFetchFailed,
    LoraInvalidFile,
    LoraNotFound,
    LoraTooLarge,
    StorageUnavailable,
    UploadFailed,
)
from lorajobs.settings import Settings
from lorajobs.spec import Adapter, Embeddings, PinnedFile
from lorajobs.storage.base import ObjectStore

#: Says which base an adapter is for, given its card and its reference; raises if none fits.
BaseRule = Callable[[Card | None, str], str | None]


class Resolved(NamedTuple):
    """A pinned adapter, what its card says, and the state of its file on the server if any."""

    adapter: Adapter
    card: Card | None
    state: str | None


class Resolver:
    """The sources, the disk cache and the snapshots in the object store."""

    def __init__(self, settings: Settings, objects: ObjectStore) -> None:
        self._max_bytes = settings.lora_max_bytes
        self._objects = objects
        self._cache = DiskCache.of(settings)
        self._looks = Looks()
        self._sources = Sources(settings, objects)

    def resolve(
        self,
        lora_id: str,
        reference: Reference,
        weight_name: str | None,
        trust: Trust,
        base_rule: BaseRule,
    ) -> Resolved:
        """Looks at the source now and pins what it finds.

        Raises: RequestError, LoraFetchFailed, UploadFailed.
        """
        where = _shown(lora_id, reference, trust)
        with reported(where):
            folder = self._sources.of(reference).open(reference, trust, where)
            base = base_rule(folder.card, folder.where)
            choice = choose(folder.names, weight_name, folder.where)
            # Taken before the bytes: a file that changes in between looks changed ever after.
            state = _state(folder, choice)
            config = self._config(folder, choice)
            weights = self._file(lora_id, folder, choice.weights, trust)
            embeddings = self._embeddings(lora_id, folder, choice, trust)
        adapter = Adapter(
            **weights.model_dump(),
            peft_config=config,
            base=base or _base_of(config),
            registered=trust is not Trust.CALLER,
            embeddings=embeddings,
        )
        return Resolved(adapter, folder.card, state)

    def state(
        self, lora_id: str, reference: PathReference, weight_name: str | None, trust: Trust
    ) -> str | None:
        """What `Resolved.state` would be now, without reading the weights.

        Raises: RequestError, LoraFetchFailed.
        """
        where = _shown(lora_id, reference, trust)

        def look() -> Found:
            folder = self._sources.of(reference).open(reference, trust, where)
            names = folder.names
            choice = choose(names, weight_name, folder.where)
            is_flat = not any("/" in name for name in names)
            return Found([*filter(None, choice)], _state(folder, choice), is_flat)

        with reported(where):
            return self._looks.state(str(reference.path), weight_name, look)

    def keep(self, sha256: str) -> bool:
        """True if the adapter of this hash is on this machine's disk; it then stays some seconds.

        Raises: OSError.
        """
        return self._cache.keep(sha256)

    def ensure(self, adapter: PinnedFile, *, ahead: bool) -> Held:
        """The file on this machine, whatever has become of its source's newest version.

        Raises: LoraFetchFailed, LoraInvalidFile, LoraPickle, LoraNotFound, LoraTooLarge, HubGated,
        NoRoomAhead.
        """
        name = without_secrets(adapter.id)
        try:
            location = parse_location(adapter.location)
        except ValueError as error:
            raise LoraNotFound(f"{name}: {error}") from error

        def fetch(target: Path) -> None:
            self._sources.fetch(adapter, location, target, name)

        with reported(name):
            return self._cache.ensure(adapter.sha256, adapter.bytes, fetch, name, ahead=ahead)

    def header(self, adapter: Adapter) -> Header | None:
        """The header of the adapter's file, without its weights; None if it cannot be had so.

        That is no refusal: whoever fetches the whole file finds out.
        Raises: LoraInvalidFile, LoraPickle.
        """
        try:
            if self._cache.has(adapter.sha256):
                with self.ensure(adapter, ahead=False) as held:
                    return read_header(held.path, "its file")
            start = self._sources.start(parse_location(adapter.location), adapter.trusted)
        except (LoraFetchFailed, LoraNotFound, HubGated, OSError, ValueError):
            return None
        return parse_header(start, adapter.bytes, "its file") if start else None

    def family_of(self, base: ModelEntry) -> str | None:
        """The family of a base; None if nothing on this machine tells."""
        if base.path:
            return of_files(base.path / MODEL_INDEX, base.path / UNET_CONFIG)
        assert base.repo
        files = (
            self._sources.hub.cached(base.repo, base.revision, f)
            for f in (MODEL_INDEX, UNET_CONFIG)
        )
        return of_files(*files)

    def _embeddings(
        self, lora_id: str, folder: Folder, choice: Choice, trust: Trust
    ) -> Embeddings | None:
        """The tokens trained with the adapter, looked at before a job is accepted."""
        if choice.embeddings is None:
            return None
        name = _named(folder, choice.embeddings)
        pinned = self._file(lora_id, folder, choice.embeddings, trust)
        if pinned.bytes > tokens.MAX_BYTES:
            raise LoraTooLarge(f"{name} has {pinned.bytes} bytes, allowed are {tokens.MAX_BYTES}")
        with self.ensure(pinned, ahead=False) as held:
            header = read_header(held.path, name)
        words = tokens.called(header, name, folder.card.trigger_words if folder.card else ())
        return Embeddings(**pinned.model_dump(), tokens=words)

    def _file(self, lora_id: str, folder: Folder, name: str, trust: Trust) -> PinnedFile:
        location, revision, sha256, size = self._pinned(folder, name)
        return PinnedFile(
            id=lora_id,
            location=str(location),
            revision=revision,
            sha256=sha256,
            bytes=size,
            weight_name=name,
            trusted=trust.has_token,
        )

    def _pinned(self, folder: Folder, name: str) -> tuple[Location, str, str, int]:
        """The source's own version or a snapshot, as location, revision, sha256 and size."""
        pin = folder.pin(name)
        if pin:
            return pin

        def fetch(target: Path) -> None:
            folder.copy(name, target, self._max_bytes)

        with self._cache.add(fetch, _named(folder, name), self._snapshot) as cached:
            blob = Blob(cached.sha256)
            return blob, f"sha256:{cached.sha256}", cached.sha256, cached.bytes

    def _snapshot(self, path: Path) -> str:
        """Keeps the file for workers on other machines; its SHA-256."""
        try:
            return self._objects.keep(path, lambda sha256: Blob(sha256).key)
        except UploadFailed as error:
            raise StorageUnavailable(f"the snapshot of an adapter: {error}") from error

    def _config(self, folder: Folder, choice: Choice) -> dict[str, object] | None:
        if choice.config is None:
            return None
        name = choice.config

        def fetch(target: Path) -> None:
            folder.copy(name, target, MAX_CONFIG_BYTES)

        try:
            raw = self._cache.read(fetch, _named(folder, name))
        except LoraTooLarge as error:
            raise LoraInvalidFile(error.detail) from error
        return peft_config(raw, folder.where)


def _shown(lora_id: str, reference: Reference, trust: Trust) -> str:
    """What messages call an adapter, which anybody who names its id may read."""
    if trust is not Trust.CALLER and isinstance(reference, PathReference):
        return f"adapter {lora_id}"
    return without_secrets(str(reference))


def _named(folder: Folder, name: str) -> str:
    """A file of a folder, for messages; a single file is its own folder."""
    where = folder.where
    return where if where.endswith(name) else f"{where.rstrip('/')}/{name}"


def _state(folder: Folder, choice: Choice) -> str | None:
    files = filter(None, choice)
    return " ".join(state for file in files if (state := folder.state(file))) or None


def _base_of(config: dict[str, object] | None) -> str | None:
    named = (config or {}).get("base_model_name_or_path")
    return named if isinstance(named, str) and named else None


@contextmanager
def reported(what: str) -> Iterator[None]:
    """Turns whatever the disk or the object store raises into LoraFetchFailed."""
    try:
        yield
    except OSError as error:
        raise LoraFetchFailed(f"{what}: {error.strerror or error}") from error
