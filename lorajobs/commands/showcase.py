"""The command that shows the whole system at work."""

from pathlib import Path

import click

from lorajobs.demo.showcase import run
from lorajobs.embedded.valkey import binary
from lorajobs.processes import programs
from lorajobs.settings import Settings


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-out"),
    show_default=True,
    help="Folder for the pictures, sheet.png and report.json.",
)
@click.pass_obj
def demo(settings: Settings, out: Path) -> int:
    """Make 16 pictures with the bundled demo.

    Runs the group of `lorajobs up` in a temporary folder, submits 4 prompts with each of the three
    adapters and without, and stops everything again.
    """
    programs.need_worker_packages()
    binary()
    return run(out, settings)
