"""The command `lorajobs`."""

from importlib import import_module

import click

from lorajobs import __version__
from lorajobs.client_errors import ApiUnreachable, ClientError, problem_text
from lorajobs.errors import ConfigError, LoraJobsError
from lorajobs.processes.supervisor import EX_CONFIG
from lorajobs.settings import Settings

#: Where each command is, as listed by --help.
HOMES = {
    "up": "serve.up",
    "submit": "jobs.submit",
    "status": "jobs.status",
    "cancel": "jobs.cancel",
    "workers": "workers.workers",
    "queues": "queues.queues",
    "drain": "queues.drain",
    "purge": "queues.purge",
    "requeue": "queues.requeue",
    "keys": "keys.keys",
    "generate": "generate.generate",
    "check": "check.check",
    "doctor": "doctor.doctor",
    "selftest": "selftest.selftest",
    "pull": "pull.pull",
    "demo": "showcase.demo",
    "worker": "serve.worker",
    "courier": "serve.courier",
    "api": "serve.api",
    "flower": "serve.flower",
    "settings": "settings.settings_table",
    "webhook-secret": "settings.webhook_secret",
}


class Commands(click.Group):
    """Reads the settings once, and turns errors into one message and an exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all."""
        return sorted(HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the command that is asked for: all of them take longer than most run."""
        if cmd_name not in HOMES:
            return None
        module, _, name = HOMES[cmd_name].partition(".")
        found: click.Command = getattr(import_module(f"lorajobs.commands.{module}"), name)
        return found

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
