"""The command that looks for what is wrong, and says what to do."""

import json

import click

from lorajobs.doctor.finding import NAMES, State
from lorajobs.settings import Settings

_COLOURS = {"ok": "green", "warning": "yellow", "wrong": "red"}


@click.command()
@click.argument("names", nargs=-1, metavar="[CHECK]...", type=click.Choice(NAMES))
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def doctor(settings: Settings, names: tuple[str, ...], as_json: bool) -> int:
    """Look for what is wrong with this installation.

    Redis, the broker, the object store and its public URLs, the API, workers, the courier, bases,
    adapters, the GPU, the disk and packages, or only the checks that are named; all at once, and
    nothing is left behind. Exit status 1 if anything is wrong.
    """
    # They import Celery and boto3, and most commands do without.
    from lorajobs.doctor.checks import checks
    from lorajobs.doctor.examination import examine

    told = []
    for check, finding in examine(checks(settings, names)):
        told.append({"check": check, **finding._asdict()})
        if not as_json:
            state = click.style(f"{finding.state:<7}", fg=_COLOURS[finding.state])
            way_out = f"\n{'':19}→ {finding.way_out}" if finding.way_out else ""
            click.echo(f"{state}  {check:<9} {finding.text}{way_out}")
    bad = any(line["state"] == State.WRONG for line in told)
    if as_json:
        click.echo(json.dumps({"ok": not bad, "findings": told}, indent=2))
    return int(bad)
