"""The command that lists the live workers."""

import socket

import click
from rich.console import Console
from rich.table import Table

from lorajobs.settings import Settings


@click.command()
@click.option("--here", is_flag=True, help="Only of this host; exit status 1 if there is none.")
@click.pass_obj
def workers(settings: Settings, here: bool) -> int:
    """List the live workers and what they have loaded."""
    # Only the commands that talk to Redis themselves load its driver.
    from lorajobs.redis_store import open_job_store

    host = f"@{socket.gethostname()}"
    live = [
        worker
        for worker in open_job_store(settings).workers()
        if not here or worker.name.endswith(host)
    ]
    table = Table("worker", "model", "state", "adapters", "job", box=None)
    for worker in live:
        loaded = ", ".join(f"{lora.id} × {lora.scale:g}" for lora in worker.loaded)
        table.add_row(worker.name, worker.model, worker.state, loaded, worker.job_id)
    Console(highlight=False, markup=False).print(table if live else "no worker is running")
    return 0 if live or not here else 1
