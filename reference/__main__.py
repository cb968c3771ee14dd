"""Writes the pages that are made of the code: `python -m reference`, a part of `make docs`."""

from collections.abc import Callable, Mapping
from pathlib import Path

import click

from reference import codes, commands, http, python_client

DOCS = Path(__file__).parents[1] / "docs"
PAGES: Mapping[str, Callable[[], str]] = {
    "cli.md": commands.page,
    "http.md": http.page,
    "python-client.md": python_client.page,
    "codes.md": codes.page,
}


@click.command()
def main() -> None:
    """Write docs/cli.md, http.md, python-client.md and codes.md."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
        click.echo(f"wrote docs/{name}")


if __name__ == "__main__":
    main()
