"""Commands that show how the system is configured."""

import re
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from lorajobs.api_keys import key_named
from lorajobs.settings import Settings

BEGIN, END = "<!-- settings:begin -->", "<!-- settings:end -->"


@click.command("settings")
@click.option(
    "--into",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"Write the table as Markdown between {BEGIN} and {END} of this file.",
)
@click.pass_obj
def settings_table(settings: Settings, into: Path | None) -> None:
    """List every setting and its value."""
    if into:
        into.write_text(with_table(into.read_text()))
        return
    now = settings.shown()
    table = Table("variable", "value", "what it is", box=None)
    for row in Settings.table():
        table.add_row(row.variable, now[row.variable], row.description)
    Console(highlight=False, markup=False).print(table)


@click.command("webhook-secret")
@click.argument("key", metavar="[ID|NAME]", required=False)
@click.pass_obj
def webhook_secret(settings: Settings, key: str | None) -> None:
    """Print the secret that signs webhooks.

    Those of an API key's jobs, or else of jobs without a key. A receiver gives it to its Standard
    Webhooks library.
    """
    from lorajobs.redis_keys import open_api_keys
    from lorajobs.redis_secrets import open_webhook_secrets

    owner = key_named(open_api_keys(settings), key).id if key else ""
    click.echo(open_webhook_secrets(settings).of(owner).current)


def with_table(text: str) -> str:
    """The Markdown text with the present settings between its markers.

    Raises: ValueError if the markers are missing.
    """
    rows = [
        f"| `{row.variable}` | {f'`{row.default}`' if row.default else '–'} | {row.description} |"
        for row in Settings.table()
    ]
    table = "\n".join([BEGIN, "| variable | default | what |", "|---|---|---|", *rows, END])
    found = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    if not found.search(text):
        raise ValueError(f"the file has no lines {BEGIN} and {END}")
    return found.sub(lambda _: table, text)
