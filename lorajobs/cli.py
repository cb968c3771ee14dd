"""The command `lorajobs`."""

import click

from lorajobs import __version__
from lorajobs.client import ApiUnreachable, ClientError, problem_text
from lorajobs.commands.check import check
from lorajobs.commands.generate import generate
from lorajobs.commands.jobs import cancel, status, submit
from lorajobs.commands.keys import keys
from lorajobs.commands.queues import drain, purge, queues, requeue
from lorajobs.commands.serve import api, courier, flower, up, worker
from lorajobs.commands.settings import settings_table, webhook_secret
from lorajobs.commands.showcase import demo
from lorajobs.commands.workers import workers
from lorajobs.errors import ConfigError, LoraJobsError
from lorajobs.processes.supervisor import EX_CONFIG
from lorajobs.settings import Settings


class Commands(click.Group):
    """Reads the settings once, and turns errors into one message and an exit status."""

    def invoke(self, ctx: click.Context) -> None:
        """Runs the command; what it returns is the exit status."""
        try:
            ctx.obj = Settings.from_env()
            status = super().invoke(ctx)
        except ConfigError as error:
            _complain(error.detail)
            ctx.exit(EX_CONFIG)
        except ApiUnreachable as error:
            _complain(f"{error.title}: start it with `lorajobs up`, or name it with --url")
            ctx.exit(1)
        except ClientError as error:
            _complain(str(error))
            ctx.exit(1)
        except LoraJobsError as error:
            _complain(problem_text(error.title, error.detail, error.errors))
            ctx.exit(1)
        ctx.exit(status or 0)


def _complain(text: str) -> None:
    click.secho(text, fg="red", err=True)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Serve many LoRA adapters from a few diffusion base models.

    `lorajobs up` runs everything on this machine; every setting is a variable LORAJOBS_…, listed by
    `lorajobs settings`.
    """


for _command in (
    up,
    submit,
    status,
    cancel,
    workers,
    queues,
    drain,
    purge,
    requeue,
    keys,
    generate,
    check,
    demo,
    worker,
    courier,
    api,
    flower,
    settings_table,
    webhook_secret,
):
    main.add_command(_command)
