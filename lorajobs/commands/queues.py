"""The operator's commands, straight on the store and the broker that the settings name."""

import signal
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lorajobs.bell import Bell
from lorajobs.catalog import Catalog
from lorajobs.errors import StoreUnavailable
from lorajobs.settings import Settings

if TYPE_CHECKING:
    from lorajobs.overview import AdapterView, Overview, QueueView, WorkerView

#: Seconds between two looks of --watch.
WATCH_S = 1.0
#: Adapters in memory and on the disk that a table names of each worker; the JSON names more.
NAMED = 3
out = Console(highlight=False, markup=False, soft_wrap=True)


@click.command()
@click.option("--watch", is_flag=True, help="Look again every second until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def queues(settings: Settings, watch: bool, as_json: bool) -> None:
    """Show what waits and runs for each base, and its workers."""
    # Celery takes a while to import, and `submit` does without.
    from lorajobs.celery import make_app
    from lorajobs.lookout import open_lookout
    from lorajobs.tickets import TicketQueue

    if watch and as_json:
        raise click.UsageError("--watch draws tables; leave out --json")
    tickets = TicketQueue(make_app(settings), settings)
    lookout = open_lookout(settings, Catalog.load(settings.config), tickets)

    def drawn() -> RenderableType:
        try:
            return _drawn(lookout.look())
        except StoreUnavailable as error:
            # It may come back, and the one who watches is who brings it back.
            return Text(error.detail, style="red")

    if as_json:
        click.echo(lookout.look().model_dump_json(indent=2))
    elif watch:
        _watch(drawn)
    else:
        Console(highlight=False, markup=False).print(_drawn(lookout.look()))


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def purge(settings: Settings, model: str, yes: bool) -> None:
    """Cancel every job that waits for a base.

    Jobs submitted meanwhile stay. One that starts meanwhile is asked to stop at its next step.
    """
    from lorajobs.purge import purge as cancel_all
    from lorajobs.redis_store import open_job_store
    from lorajobs.redis_watch import open_watch

    store, catalog = open_job_store(settings), Catalog.load(settings.config)
    entry = catalog.model(model)
    base = entry.id if entry else model
    waiting = open_watch(settings).queued(base)
    if not (entry or waiting):
        raise click.ClickException(f"no base {model!r}; there is {', '.join(catalog.models)}")
    if waiting and not yes:
        click.confirm(f"Cancel {_jobs(len(waiting))} waiting for {base}?", abort=True)
    out.print(f"canceled {_jobs(cancel_all(store, waiting))} of {base}")


@click.command()
@click.argument("job_id", metavar="ID")
@click.pass_obj
def requeue(settings: Settings, job_id: str) -> None:
    """Submit an ended job again; prints the new job's id.

    It has the same input, seed and adapter versions, and `retry_of` names the old one.
    """
    from lorajobs.celery import make_app
    from lorajobs.images import open_images
    from lorajobs.redis_store import open_job_store
    from lorajobs.submit import resubmit
    from lorajobs.tickets import TicketQueue

    catalog, store = Catalog.load(settings.config), open_job_store(settings)
    tickets = TicketQueue(make_app(settings), settings)
    out.print(resubmit(job_id, catalog, store, tickets, open_images(settings)).id)


@click.command()
@click.argument("worker", metavar="WORKER")
@click.option("--resume", is_flag=True, help="Let it take jobs again.")
@click.pass_obj
def drain(settings: Settings, worker: str, resume: bool) -> None:
    """Let a worker finish its job and take no more.

    It stays alive and warm. `lorajobs queues` names the workers.
    """
    from lorajobs.celery import make_app
    from lorajobs.drain import DRAIN, RESUME, DrainCall
    from lorajobs.redis_store import open_job_store

    live = {state.name: state for state in open_job_store(settings).workers()}
    if worker not in live:
        names = ", ".join(live) or "none"
        raise click.ClickException(f"no worker {worker!r} is alive; alive are: {names}")
    if not DrainCall(make_app(settings))(worker, RESUME if resume else DRAIN):
        raise click.ClickException(f"{worker} did not answer; try again, or stop its process")
    job_id = live[worker].job_id
    if resume:
        out.print(f"{worker} takes jobs again")
    else:
        out.print(f"{worker} takes no more jobs" + (f" after {job_id}" if job_id else ""))


def _jobs(count: int) -> str:
    return f"{count:,} job{'' if count == 1 else 's'}"


def _watch(drawn: Callable[[], RenderableType]) -> None:
    # Not an exception, which some library in the middle of its work would swallow.
    ctrl_c = Bell()
    signal.signal(signal.SIGINT, lambda *_: ctrl_c.ring())
    with Live(drawn(), console=out, auto_refresh=False, vertical_overflow="crop") as live:
        while not ctrl_c.wait(WATCH_S):
            live.update(drawn(), refresh=True)


def _drawn(seen: "Overview") -> RenderableType:
    return Group(*(part for queue in seen.queues for part in _base(queue)))


def _base(queue: "QueueView") -> Iterator[RenderableType]:
    table = Table(
        *("base", "waiting", "oldest", "running", "in / min", "out / min", "tickets"), box=None
    )
    table.add_row(
        Text(queue.model, style="bold"),
        str(queue.waiting),
        _seconds(queue.oldest_s),
        str(queue.running),
        f"{queue.submitted_per_min:g}",
        f"{queue.ended_per_min:g}",
        "–" if queue.tickets is None else str(queue.tickets),
        Text("no worker", style="red") if queue.no_worker else "",
    )
    yield table
    if queue.groups:
        groups = Table("  waiting for", "waiting", "oldest", box=None)
        for group in queue.groups:
            name = Text(f"  {_loras(group.loras) or 'base alone'}")
            groups.add_row(name, str(group.waiting), _seconds(group.oldest_s))
        yield groups
    if queue.workers:
        workers = Table("  worker", "state", "adapters", "in memory", "on disk", "job", box=None)
        for worker in queue.workers:
            cells = (f"  {worker.name}", worker.state, _loras(worker.loaded), _in_memory(worker))
            workers.add_row(*map(Text, (*cells, _on_disk(worker), worker.job_id or "")))
        yield workers
    yield ""


def _loras(loras: "Sequence[AdapterView]") -> str:
    return ", ".join(f"{lora.id} × {lora.scale:g}" for lora in loras)


def _in_memory(worker: "WorkerView") -> str:
    return f"{worker.in_memory:,}{_first(worker.memory, worker.in_memory)}"


def _on_disk(worker: "WorkerView") -> str:
    size = f"{worker.cached:,}, {worker.cached_bytes / 1e9:.1f} GB"
    return f"{size}{_first(worker.disk, worker.cached)}"


def _first(names: "Sequence[str]", of: int) -> str:
    """The first few of so many names, to stand behind their number."""
    shown = [*names[:NAMED], *(["…"] if of > NAMED else [])]
    return f": {', '.join(shown)}" if names else ""


def _seconds(age_s: float | None) -> str:
    return "–" if age_s is None else f"{age_s:,.1f} s"
