"""The command that says what an adapter is, and whether a base can take it."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import click

from lorajobs.adapters import keys
from lorajobs.adapters.anatomy import Anatomy, anatomy, require
from lorajobs.adapters.folder import PEFT_CONFIG, Trust, peft_config
from lorajobs.adapters.header import Header, read_header, scalars
from lorajobs.adapters.reference import parse
from lorajobs.adapters.resolver import Resolver
from lorajobs.catalog import Catalog, ModelEntry
from lorajobs.errors import LoraJobsError, LoraNotFound
from lorajobs.jobs import Adapter, AdapterUse
from lorajobs.settings import Settings
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
    path = Path(source).expanduser()
    if path.exists():
        path, config = _chosen(path)
        adapter = _local(path, config)
        header: Header | None = read_header(path)
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
    if path.exists():
        yield "alpha", _alphas(path, header, found)
    family = resolver.family_of(entry) if entry else None
    if entry:
        yield "base", f"{entry.id}: {family or 'of a family that nothing here tells'}"
    require(found, family)
    if path.exists():
        yield "weights", _weights(path, adapter, entry)


def _chosen(path: Path) -> tuple[Path, dict[str, object] | None]:
    """The weights of a file or folder, and the configuration that PEFT put beside them."""
    if path.is_dir():
        held = sorted(path.glob("*.safetensors"))
        if len(held) != 1:
            names = ", ".join(file.name for file in held) or "none"
            raise LoraNotFound(f"{path} must hold one .safetensors file, it holds {names}")
        path = held[0]
    config = path.with_name(PEFT_CONFIG)
    # As a reference to a file: only PEFT's own name has a configuration beside it.
    told = path.name == "adapter_model.safetensors" and config.is_file()
    return path, peft_config(config.read_bytes(), str(path.parent)) if told else None


def _local(path: Path, config: dict[str, object] | None) -> Adapter:
    size = path.stat().st_size
    return Adapter(
        id=path.name,
        location="",
        revision="",
        sha256="",
        bytes=size,
        weight_name=path.name,
        peft_config=config,
    )


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


def _weights(path: Path, adapter: Adapter, entry: ModelEntry | None) -> str:
    """Looks at the weights as a worker does; raises what a worker would."""
    if any(importlib.util.find_spec(name) is None for name in ("torch", "diffusers", "peft")):
        return "not looked at: the worker's packages are not installed"
    # They take seconds to import.
    from lorajobs.engine import lora_file
    from lorajobs.engine.base import LocalAdapter

    if entry is None or entry.path is None:
        lora_file.require_finite(lora_file.load(path, lora_file.header(path)))
        return "all finite"
    from lorajobs.engine.layer import summary
    from lorajobs.engine.lora_weights import Reader
    from lorajobs.engine.skeleton import skeleton

    use = AdapterUse(adapter=adapter, scale=1.0)
    told = summary(Reader(skeleton(entry.path)).read(LocalAdapter(use, path)))
    assumed = ", its alpha taken to equal the rank" if told.alpha_assumed else ""
    return f"{told.modules} weights of {entry.id}, all finite, strength {told.strength:g}{assumed}"
