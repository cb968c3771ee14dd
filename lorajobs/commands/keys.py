"""Commands for API keys; they talk to the store, so whoever reaches that needs no key."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from lorajobs.api_keys import ApiKey, Scope, change, rotated
from lorajobs.api_keys import create as create_key
from lorajobs.api_keys import revoke as revoke_key
from lorajobs.document import without_secrets
from lorajobs.request import WebhookRequest
from lorajobs.settings import Settings
from lorajobs.spec import Webhook

out = Console(highlight=False, markup=False, soft_wrap=True)

Command = Callable[..., Any]


@click.group()
def keys() -> None:
    """Make, list, change and end API keys."""


def _webhook_options(command: Command) -> Command:
    url = click.option(
        "--webhook", "url", metavar="URL", help="Where its jobs are announced that name no webhook."
    )
    events = click.option(
        "--webhook-events",
        "events",
        metavar="NAMES",
        help="Of what, such as `started,succeeded`.  [default: every end]",
    )
    return url(events(command))


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
@_webhook_options
@click.pass_obj
def create(
    settings: Settings,
    name: str,
    scopes: tuple[str, ...],
    max_waiting: int | None,
    rate: int | None,
    url: str | None,
    events: str | None,
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
        webhook=_webhook(settings, url, events),
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
    table = Table(
        # Cut off, an id names no key.
        Column("id", no_wrap=True, min_width=12),
        "name",
        "scopes",
        "max waiting",
        "rate",
        "webhook",
        "made",
        "revoked",
        box=None,
    )
    for key in found:
        table.add_row(*map(Text, _cells(key)))
    # As wide as the terminal is now.
    shown = table if found else "no key was ever made; `lorajobs keys create NAME` makes one"
    Console(highlight=False, markup=False).print(shown)


@keys.command("set")
@click.argument("key", metavar="ID|NAME")
@_webhook_options
@click.option("--no-webhook", is_flag=True, help="Announce its jobs nowhere.")
@click.option(
    "--rotate-webhook-secret",
    "rotate",
    is_flag=True,
    help="Sign by a new secret; the former one signs too for LORAJOBS_WEBHOOK_ROTATION_S.",
)
@click.pass_obj
def change_key(
    settings: Settings,
    key: str,
    url: str | None,
    events: str | None,
    no_webhook: bool,
    rotate: bool,
) -> None:
    """Change a key's webhook: where the jobs that it submits from now on are announced."""
    from lorajobs.redis_keys import open_api_keys

    if (url and no_webhook) or not (url or events or no_webhook or rotate):
        raise click.UsageError("give --webhook or --no-webhook, --rotate-webhook-secret, or both")
    webhook = _webhook(settings, url, events)

    def changed(old: ApiKey) -> ApiKey:
        new = rotated(old) if rotate else old
        return new.model_copy(update={"webhook": webhook}) if webhook or no_webhook else new

    now = change(open_api_keys(settings), key, changed)
    out.print(f"changed {now.id} ({now.name}): {_announced(now.webhook)}")
    if rotate:
        out.print(f"`lorajobs webhook-secret {now.id}` prints its new secret")


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
        _announced(key.webhook),
        _day(key.created_ms),
        "" if key.revoked_ms is None else _day(key.revoked_ms),
    )


def _webhook(settings: Settings, url: str | None, events: str | None) -> Webhook | None:
    """What the options say, vetted as a request's is.

    Raises: ValidationFailed, UrlNotAllowed, UsageError.
    """
    from lorajobs.reach import Reach

    if url is None:
        if events is not None:
            raise click.UsageError("give --webhook-events only with --webhook")
        return None
    names = events.split(",") if events is not None else None
    asked = WebhookRequest.parse(json.dumps({"url": url, "events": names}).encode())
    Reach.of_webhooks(settings).vet(asked.url)
    return Webhook(**asked.model_dump(exclude_none=True))


def _announced(webhook: Webhook | None) -> str:
    return f"{without_secrets(webhook.url)} ({', '.join(webhook.events)})" if webhook else "–"


def _day(moment_ms: int) -> str:
    return f"{datetime.fromtimestamp(moment_ms / 1000, UTC):%Y-%m-%d}"
