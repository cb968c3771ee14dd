"""The command that says what an adapter is, and whether a base can take it."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import click

from lorajobs.adapters import keys
from lorajobs.adapters.anatomy import Anatomy, anatomy, require
from lorajobs.adapters.folder import PEFT_CONFIG, PEFT_WEIGHTS, Trust, choose, peft_config
from lorajobs.adapters.header import Header, read_header, scalars
from lorajobs.adapters.path import tokens_of
from lorajobs.adapters.reference import parse
from lorajobs.adapters.resolver import Resolver
from lorajobs.adapters.tokens import called
from lorajobs.catalog import Catalog, ModelEntry
from lorajobs.engine.base import LocalAdapter
from lorajobs.errors import LoraJobsError
from lorajobs.settings import Settings
from lorajobs.spec import Adapter, AdapterUse, Embeddings, PinnedFile
from lorajobs.storage import open_store


@click.command()
@click.argument("source", metavar="FILE|REFERENCE")
@click.option("-m", "--model", help="The base to hold it against, an id of lorajobs.toml.")
@click.pass_obj
def check(settings: Settings, /, source: str, model: str | None) -> int:
    """Say what an adapter is and whether it is refused.

    Of a FILE or PEFT folder every weight is looked at if PyTorch is installed, of a reference only
    the header. With --model it is held against that base, every module of it if the base is here.
    """
    entry = Catalog.load(settings.config).require(model) if model else None
    try:
        for label, text in _lines(settings, source, entry):
            click.echo(f"{label:<9} {text}")
    except LoraJobsError as error:
        click.secho(f"{'refused':<9} {error.code}: {error.detail}", fg="red")
        return 1
    click.secho("ok", fg="green")
    return 0


def _lines(settings: Settings, source: str, entry: ModelEntry | None) -> Iterator[tuple[str, str]]:
    """What is found, until the first reason to refuse it is raised."""
    resolver = Resolver(settings, open_store(settings))
    path, local = Path(source).expanduser(), None
    header: Header | None
    if path.exists():
        local, header = local_adapter(path)
        adapter = local.use.adapter
    else:
        adapter = resolver.resolve(
            source, parse(source), None, Trust.CONFIGURED, lambda card, where: None
        ).adapter
        header = resolver.header(adapter)
    yield "file", f"{adapter.weight_name}, {adapter.bytes / 1e6:,.1f} MB"
    if header is None:
        yield "header", "cannot be had without the weights; a worker checks them"
        return
    found = anatomy(header)
    yield from _described(found)
    if adapter.embeddings:
        words = " ".join(adapter.embeddings.tokens)
        yield "tokens", f"{words}, in {adapter.embeddings.weight_name}"
    if local:
        yield "alpha", _alphas(local.path, header, found)
    family = resolver.family_of(entry) if entry else None
    if entry:
        yield "base", f"{entry.id}: {family or 'of a family that nothing here tells'}"
    require(found, family)
    if local:
        yield "weights", _weights(local, entry)


def local_adapter(path: Path) -> tuple[LocalAdapter, Header]:
    """The adapter that a file or folder holds, chosen as of any source.

    Raises: LoraRefused, LoraNotFound, LoraSeveralFiles, LoraPickle, LoraInvalidFile.
    """
    folder, names = path.parent, [path.name]
    if path.is_dir():
        folder, names = path, [file.name for file in path.iterdir() if file.is_file()]
    else:
        # Of a file only PEFT's own name has a configuration beside it.
        config_too = path.name == PEFT_WEIGHTS and path.with_name(PEFT_CONFIG).is_file()
        names += [*tokens_of(path), *([PEFT_CONFIG] if config_too else [])]
    choice = choose(names, None, str(path))
    weights = folder / choice.weights
    config, embeddings = None, None
    if choice.config:
        config = peft_config((folder / choice.config).read_bytes(), str(folder))
    tokens = folder / choice.embeddings if choice.embeddings else None
    if tokens:
        words = called(read_header(tokens), tokens.name, ())
        embeddings = Embeddings(**_file(tokens).model_dump(), tokens=words)
    pinned = _file(weights).model_dump()
    adapter = Adapter(**pinned, peft_config=config, embeddings=embeddings)
    return LocalAdapter(AdapterUse(adapter=adapter, scale=1.0), weights, tokens), read_header(
        weights
    )


def _file(path: Path) -> PinnedFile:
    size, name = path.stat().st_size, path.name
    return PinnedFile(id=name, location="", revision="", sha256="", bytes=size, weight_name=name)


def _described(found: Anatomy) -> Iterator[tuple[str, str]]:
    yield "family", found.family or "cannot be told by its names and shapes"
    kinds = ", ".join(f"{kind} in {number} modules" for kind, number in found.kinds.items())
    yield "format", kinds or "of no known adapter"
    low, high = min(found.ranks, default=0), max(found.ranks, default=0)
    yield "rank", f"{low} to {high}" if low < high else str(high or "none")
    for name in found.inventory.extras:
        yield "left out", f"{name}: {keys.EXTRAS[name.rpartition('.')[2]]}"


def _alphas(path: Path, header: Header, found: Anatomy) -> str:
    named = [parts["alpha"] for parts in found.inventory.modules.values() if "alpha" in parts]
    values = sorted(set(scalars(path, header, named)))
    told = [f"{values[0]:g}" + (f" to {values[-1]:g}" if len(values) > 1 else "")] if values else []
    if found.without_alpha:
        told.append(
            f"none in {found.without_alpha} modules: its configuration's, else equal to the rank"
        )
    return "; ".join(told)


def _weights(local: LocalAdapter, entry: ModelEntry | None) -> str:
    """Looks at the weights as a worker does; raises what a worker would."""
    if any(importlib.util.find_spec(name) is None for name in ("torch", "diffusers", "peft")):
        return "not looked at: the worker's packages are not installed"
    # They take seconds to import.
    from lorajobs.engine import lora_file

    if entry is None or entry.path is None:
        for path in filter(None, local[1:]):
            lora_file.require_finite(lora_file.load(path, lora_file.header(path)))
        return "all finite"
    from lorajobs.engine import vocabulary
    from lorajobs.engine.layer import every
    from lorajobs.engine.lora_weights import Reader
    from lorajobs.engine.skeleton import skeleton
    from lorajobs.engine.summary import summary

    base = skeleton(entry.path)
    told = summary(every(Reader(base).read(local)))
    vocabulary.read(local, base)
    assumed = ", its alpha taken to equal the rank" if told.alpha_assumed else ""
    return f"{told.modules} weights of {entry.id}, all finite, strength {told.strength:g}{assumed}"
