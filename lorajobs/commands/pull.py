"""The command that fetches bases and adapters ahead of their first job."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console
from rich.text import Text

from lorajobs.catalog import ModelEntry
from lorajobs.commands.stock import Stock
from lorajobs.document import without_secrets
from lorajobs.errors import ConfigError, LoraJobsError
from lorajobs.settings import Settings

out = Console(highlight=False, markup=False, soft_wrap=True)


class Brought(NamedTuple):
    """What is on this machine now."""

    bytes: int
    where: Path
    #: False if it was there before
    is_new: bool = True


@click.command()
@click.argument("names", nargs=-1, metavar="[MODEL|ADAPTER]...")
@click.option("--all", "everything", is_flag=True, help="All configured bases and all adapters.")
@click.pass_obj
def pull(settings: Settings, names: tuple[str, ...], everything: bool) -> int:
    """Fetch bases and adapters ahead of their first job.

    They go into the caches that workers of this machine use. A MODEL is an id or alias of
    lorajobs.toml, an ADAPTER an id, or a reference such as hf:owner/name. Exit status 1 if any
    could not be had.
    """
    if bool(names) == everything:
        raise click.UsageError("name bases or adapters, or give --all")
    stock = Stock(settings)
    if everything:
        names = (*stock.catalog.models, *dict.fromkeys(stock.adapters))
    failed = False
    for name in names:
        called, begun = without_secrets(name), time.monotonic()
        try:
            for brought in _brought(stock, name, settings):
                took = f", fetched in {time.monotonic() - begun:.1f} s" if brought.is_new else ""
                size = f"{brought.bytes / 1e6:,.1f} MB"
                out.print(f"{called}: {size} in {brought.where}{took or ', was here already'}")
        except LoraJobsError as error:
            failed = True
            out.print(f"{called}: {error.detail}", style="red")
    return int(failed)


def _brought(stock: Stock, name: str, settings: Settings) -> Iterator[Brought]:
    """Fetches what the name stands for.

    Raises: ConfigError for a name of nothing; BaseLoadFailed, RequestError, LoraFetchFailed.
    """
    if entry := stock.catalog.model(name):
        yield from _base(entry, settings)
        return
    before = time.time()
    with out.status("looking at its source"):
        adapter = stock.adapter(name)
    for file in adapter.files:
        with (
            out.status(Text(f"{file.weight_name}, {file.bytes / 1e6:,.1f} MB")),
            stock.library.ensure(file) as held,
        ):
            # A file that has no version of its own came with the look at its source.
            is_new = held.tier == "remote" or held.path.stat().st_ctime > before
            yield Brought(held.bytes, held.path, is_new)


def _base(entry: ModelEntry, settings: Settings) -> Iterator[Brought]:
    """The base and the VAE in place of its own."""
    # The hub's client takes a while to import.
    from lorajobs.engine.snapshot import HubRepo

    for source, variant in ((entry, entry.variant), (entry.vae, None)):
        if source is None:
            continue
        if source.path:
            yield Brought(_bytes_in(source.path), source.path, is_new=False)
            continue
        repo = HubRepo(str(source.repo), source.revision, settings)
        cached = repo.cached()
        before = _bytes_in(cached) if cached else 0
        folder = repo.pull(variant)
        size = _bytes_in(folder)
        yield Brought(size, folder, is_new=folder != cached or size != before)


def _bytes_in(folder: Path) -> int:
    """Of all files below it; a cache of the hub holds links."""
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
