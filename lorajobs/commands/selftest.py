"""The command that tries a base and an adapter on the machine that is to serve them."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from lorajobs.catalog import Catalog
from lorajobs.commands.check import local_adapter
from lorajobs.commands.stock import Stock
from lorajobs.engine.base import LocalAdapter
from lorajobs.processes import programs
from lorajobs.settings import Settings
from lorajobs.spec import AdapterUse

_MARKS = {True: ("pass", "green"), False: ("FAIL", "red"), None: ("    ", None)}


@click.command()
@click.option("-m", "--model", required=True, metavar="ID", help="The base, as in lorajobs.toml.")
@click.option(
    "--adapter",
    metavar="ID|REFERENCE|FILE",
    help="The adapter to try; a made-up one of rank 8 if left out.",
)
@click.pass_obj
def selftest(settings: Settings, model: str, adapter: str | None) -> int:
    """Try a base on this machine: exactness and speed.

    Loads it as a worker would, puts an adapter on and takes it off, compares weights and pictures
    to the bit, and measures. Needs no other process. Stop this machine's workers first: both would
    share the GPU. Exit status 1 if anything is not as expected.
    """
    programs.need_worker_packages()
    entry = Catalog.load(settings.config).require(model)
    # Torch and diffusers take seconds.
    from lorajobs.engine.selftest import selftest as tried

    failed = False
    with ExitStack() as held, tempfile.TemporaryDirectory(prefix="lorajobs-selftest-") as folder:
        local = _local(settings, adapter, held) if adapter else None
        for verdict in tried(entry, settings, local, Path(folder)):
            failed |= verdict.passed is False
            mark, colour = _MARKS[verdict.passed]
            click.echo(f"{click.style(mark, fg=colour)}  {verdict.text}")
            if verdict.passed is False and verdict.hint:
                click.echo(f"      → {verdict.hint}")
    return int(failed)


def _local(settings: Settings, name: str, held: ExitStack) -> LocalAdapter:
    """The adapter's files on this machine, held until the end."""
    path = Path(name).expanduser()
    if path.exists():
        found, _ = local_adapter(path)
        return found
    stock = Stock(settings)
    adapter = stock.adapter(name)
    files = [held.enter_context(stock.library.ensure(file)) for file in adapter.files]
    use = AdapterUse(adapter=adapter, scale=1.0)
    return LocalAdapter(use, *(file.path for file in files))
