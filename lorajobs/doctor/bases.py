"""The configured base models: whether a worker could load them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from json import JSONDecodeError, loads
from pathlib import Path
from typing import Any

from lorajobs.adapters.header import read_header
from lorajobs.catalog import Catalog, LoraEntry, ModelEntry
from lorajobs.doctor.finding import Finding, ok, warning, wrong
from lorajobs.engine.snapshot import INDEX, HubRepo, wanted
from lorajobs.errors import BaseLoadFailed, LoraRefused
from lorajobs.settings import Settings

#: Components of which a pipeline is saved without weights.
_WEIGHTLESS = ("scheduler", "tokenizer", "feature_extractor", "image_processor")


def bases(settings: Settings) -> Iterator[Finding]:
    """Each base in its folder, or in the hub's cache or on the hub."""
    catalog = Catalog.load(settings.config)
    yield ok(
        f"{settings.config or 'the bundled demo'}: {len(catalog.models)} bases, "
        f"{len(catalog.loras)} adapters"
    )
    for entry in catalog.models.values():
        yield _base(entry, settings)
        if entry.vae:
            yield _vae(entry, settings)
    entries: list[ModelEntry | LoraEntry] = [*catalog.models.values(), *catalog.loras.values()]
    for one in entries:
        if one.example and not one.example.is_file():
            text = f"{one.id}: its example picture {one.example} is not on this machine"
            yield warning(text, "where the API runs: bring it there, or correct `example`")


def _base(entry: ModelEntry, settings: Settings) -> Finding:
    if entry.path:
        way_out = f"correct models.{entry.id}.path, or bring the missing files there"
        return _complete(entry, entry.path, way_out)
    repo = HubRepo(str(entry.repo), entry.revision, settings)
    if folder := repo.cached():
        return _complete(entry, folder, f"`lorajobs pull {entry.id}`")
    return _remote(f"{entry.id}: {entry.repo}", entry, repo)


def _vae(entry: ModelEntry, settings: Settings) -> Finding:
    vae, name = entry.vae, f"{entry.id}'s own vae"
    assert vae
    if vae.path:
        folder: Path | None = vae.path
    else:
        repo = HubRepo(str(vae.repo), vae.revision, settings)
        folder = repo.cached()
        if folder is None:
            return _remote(f"{name}: {vae.repo}", entry, repo)
    faults = list(_faults_of(folder, [p.name for p in _files(folder)], None)) if folder else []
    if not folder or not folder.is_dir() or faults:
        said = "; ".join(faults) or "there is no such folder"
        return wrong(f"{name} in {folder}: {said}", f"correct models.{entry.id}.vae")
    return ok(f"{name} is here")


def _remote(called: str, entry: ModelEntry, repo: HubRepo) -> Finding:
    """What is told of a repository that is not here yet."""
    pull = f"`lorajobs pull {entry.id}` brings it before its first worker does"
    try:
        size = repo.size(entry.variant)
    except BaseLoadFailed as error:
        return wrong(f"{called} is not here, and cannot be had: {error.detail}", pull)
    told = f", {size / 1e9:,.1f} GB" if size else ""
    return warning(f"{called} is not on this machine{told}", pull)


def _complete(entry: ModelEntry, folder: Path, way_out: str) -> Finding:
    try:
        index: Mapping[str, Any] = loads((folder / INDEX).read_text())
    except (OSError, JSONDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        return wrong(f"{entry.id}: {folder / INDEX}: {said}", way_out)
    parts = {name for name, part in index.items() if isinstance(part, list) and any(part)}
    if entry.vae:
        parts.discard("vae")
    faults, total, kinds = [], 0, Counter[str]()
    for part in sorted(parts):
        files = [file.name for file in _files(folder / part)]
        faults += [f"{part}: {fault}" for fault in _faults_of(folder / part, files, entry.variant)]
        for path in _weights(folder / part, files, entry.variant):
            size, kind = _measure(path)
            total += size
            kinds[kind] += size
    if faults:
        return wrong(f"{entry.id} in {folder} is not complete: {'; '.join(faults[:3])}", way_out)
    stored = ", ".join(kind for kind, _ in kinds.most_common(2)) or "nothing"
    return ok(f"{entry.id}: {total / 1e9:,.2f} GB of {stored}, loaded as {entry.dtype}")


def _files(folder: Path) -> Iterable[Path]:
    return [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []


def _weights(folder: Path, names: list[str], variant: str | None) -> Iterator[Path]:
    for name in wanted(names, [""], variant):
        if name.endswith(".safetensors") and (folder / name).is_file():
            yield folder / name


def _measure(path: Path) -> tuple[int, str]:
    try:
        tensors = read_header(path).tensors.values()
    except (LoraRefused, OSError):
        return 0, "?"
    return path.stat().st_size, Counter(tensor.dtype for tensor in tensors).most_common(1)[0][0]


def _faults_of(folder: Path, names: list[str], variant: str | None) -> Iterator[str]:
    """What of a component's folder is missing or cut."""
    weights = list(_weights(folder, names, variant))
    if not names:
        yield "the folder is missing or empty"
    elif not weights and not folder.name.startswith(_WEIGHTLESS):
        yield "it has no weights (.safetensors)"
    for path in weights:
        try:
            # It compares the length that the header asks for with the file's.
            read_header(path)
        except (LoraRefused, OSError) as error:
            yield str(getattr(error, "detail", error))
    for index in (name for name in names if name.endswith(".safetensors.index.json")):
        shards = set(loads((folder / index).read_text())["weight_map"].values())
        missing = sorted(shards - set(names))
        # Those of another variant are not needed.
        if missing and any(path.name in shards for path in weights):
            yield f"{missing[0]} and {len(missing) - 1} more of its parts are missing"
