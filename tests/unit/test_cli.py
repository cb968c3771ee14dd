import base64

import click

from lorajobs.cli import HOMES, main
from lorajobs.processes.supervisor import EX_CONFIG
from tests.unit.conftest import Run


def test_a_wrong_setting_is_one_line(run: Run) -> None:
    result = run("settings", LORAJOBS_API_PROT="1")
    assert result.exit_code == EX_CONFIG
    assert result.stderr.splitlines() == [
        "LORAJOBS_API_PROT: there is no such setting; did you mean LORAJOBS_API_PORT?"
    ]


def test_secrets_are_not_listed(run: Run) -> None:
    key = base64.b64encode(b"abc" * 8).decode()
    shown = run(
        "settings",
        LORAJOBS_WEBHOOK_SECRET=f"whsec_{key}",
        HF_TOKEN=f"hf_{key}",
        LORAJOBS_REDIS_URL=f"redis://me:{key}@host/0",
        LORAJOBS_BROKER_URL=f"amqp://me:{key}@one//;amqp://me:{key}@two//",
    ).stdout
    assert "LORAJOBS_WEBHOOK_SECRET" in shown
    assert key not in "".join(shown.split())
    assert key[:6] not in shown


def test_every_command_explains_itself(run: Run) -> None:
    for name in HOMES:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        assert (command.name, bool(command.help)) == (name, True)
        assert run(name, "--help").exit_code == 0
    _, _, listed = run("--help").stdout.partition("Commands:")
    assert "..." not in listed, "a first line is cut"
