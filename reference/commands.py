"""`docs/cli.md`: what `lorajobs --help` and each command's `--help` say."""

from collections.abc import Iterator

import click

from lorajobs.cli import main
from reference.markdown import MADE, joined

INTRO = "Every setting of these is a variable, see [settings](settings.md). " + MADE
WIDTH = 100


def page() -> str:
    """The whole page."""
    more = main.context_settings
    context = click.Context(main, info_name="lorajobs", terminal_width=WIDTH, **more)
    return joined(["# Commands", INTRO, *_sections(context, main)])


def _sections(context: click.Context, command: click.Command) -> Iterator[str]:
    """A section of the command and of each below it."""
    depth = "##" if context.parent is None or context.parent.parent is None else "###"
    yield f"{depth} {context.command_path}"
    yield f"```text\n{command.get_help(context).strip()}\n```"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below
            inner = click.Context(below, context, name, terminal_width=WIDTH)
            yield from _sections(inner, below)
