"""Commands for API keys; they talk to the store, so whoever reaches that needs no key."""

from datetime import UTC, datetime

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lorajobs.api_keys import ApiKey, Scope
from lorajobs.api_keys import create as create_key
from lorajobs.api_keys import revoke as revoke_key
from lorajobs.settings import Settings

out = Console(highlight=False, soft_wrap=True)


@click.group()
def keys() -> None:
    """Make, list and end API keys."""


@keys.command()
@click.argument("name", metavar="NAME")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([str(scope) for scope in Scope]),
    default=[str(Scope.SUBMIT), str(Scope.READ)],
    help="What it may do; repeat for several.  [default: submit and read]",
)
@click.option(
    "--max-waiting",
    type=click.IntRange(1),
    help="Jobs that may wait for one base.  [default: LORAJOBS_MAX_WAITING_PER_KEY]",
)
@click.option(
    "--rate",
    type=click.IntRange(1, 1_000_000),
    help="Requests per minute.  [default: LORAJOBS_RATE_PER_MINUTE]",
)
@click.pass_obj
def create(
    settings: Settings,
    name: str,
    scopes: tuple[str, ...],
    max_waiting: int | None,
    rate: int | None,
) -> None:
    """Make a key and print its secret, this once.

    As soon as one key was ever made, every request needs one.
    """
    from lorajobs.redis_keys import open_api_keys

    if not 0 < len(name) <= 64 or not name.isprintable():
        raise click.BadParameter("give 1 to 64 printable characters", param_hint="NAME")
    key, secret = create_key(
        open_api_keys(settings),
        name,
        [Scope(s) for s in scopes],
        max_waiting=max_waiting,
        rate=rate,
    )
    click.echo(f"made {key.id} for {key.name}; its secret is shown only here:", err=True)
    click.echo(secret)
    click.echo("use it: export LORAJOBS_API_KEY=…, or Authorization: Bearer …", err=True)


@keys.command("list")
@click.pass_obj
def list_keys(settings: Settings) -> None:
    """List every key that was ever made."""
    from lorajobs.redis_keys import open_api_keys

    found = open_api_keys(settings).all()
    table = Table("id", "name", "scopes", "max waiting", "rate", "made", "revoked", box=None)
    for key in found:
        table.add_row(*map(Text, _cells(key)))
    out.print(table if found else "no key was ever made; `lorajobs keys create NAME` makes one")


@keys.command()
@click.argument("key", metavar="ID|NAME")
@click.pass_obj
def revoke(settings: Settings, key: str) -> None:
    """End a key for good; its jobs go on, and an admin's key sees them."""
    from lorajobs.redis_keys import open_api_keys

    ended = revoke_key(open_api_keys(settings), key)
    out.print(f"revoked {ended.id} ({ended.name})")


def _cells(key: ApiKey) -> tuple[str, ...]:
    return (
        key.id,
        key.name,
        " ".join(key.scopes),
        "–" if key.max_waiting is None else str(key.max_waiting),
        "–" if key.rate is None else f"{key.rate}/min",
        _day(key.created_ms),
        "" if key.revoked_ms is None else _day(key.revoked_ms),
    )


def _day(moment_ms: int) -> str:
    return f"{datetime.fromtimestamp(moment_ms / 1000, UTC):%Y-%m-%d}"
