"""Commands that run processes: the whole group, or one of them in the foreground."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from lorajobs.addresses import LOOPBACK
from lorajobs.catalog import Catalog
from lorajobs.embedded.ports import free_port, is_free
from lorajobs.embedded.valkey import EmbeddedValkey
from lorajobs.errors import ConfigError
from lorajobs.loopback import is_local
from lorajobs.processes import gpus, programs
from lorajobs.processes.child import Program
from lorajobs.processes.gpus import Gpu
from lorajobs.processes.screen import Screen
from lorajobs.processes.supervisor import Supervisor
from lorajobs.settings import Settings

_on_gpus = click.option(
    "--gpus",
    "asked_gpus",
    metavar="all|0,2",
    help="One worker on each of these NVIDIA GPUs, numbered as nvidia-smi does.",
)


@click.command()
@click.option("--flower", is_flag=True, help="Run Flower too.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the API.  [default: 8000]")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Queue, pictures, caches and logs.  [default: ~/.lorajobs]",
)
@click.option(
    "--model", "models", multiple=True, metavar="ID", help="A base to serve; repeat for several."
)
@_on_gpus
@click.pass_obj
def up(
    settings: Settings,
    flower: bool,
    port: int | None,
    data_dir: Path | None,
    models: tuple[str, ...],
    asked_gpus: str | None,
) -> int:
    """Run everything on this machine until Ctrl-C.

    That is the API, a worker for each base, the courier and an embedded Valkey. Without
    configuration the bundled demo base is served. Jobs and pictures stay in the data folder, and
    the next `up` goes on with waiting jobs.
    """
    programs.need_worker_packages()
    _need_checkers(settings)
    served = _models(settings, models)
    found = gpus.chosen(asked_gpus, settings)
    settings, server = _embedded(settings, port, data_dir)
    if flower and settings.flower_url is None:
        seen = f"http://127.0.0.1:{settings.flower_port}"
        settings = settings.model_copy(update={"flower_url": seen})
    first = [[programs.valkey(server, settings)]] if server else []
    rest = [
        programs.api(settings),
        *programs.metered(
            [*_workers(settings, served, found), programs.courier(settings)], settings
        ),
        *([programs.flower(settings)] if flower else []),
    ]

    def ready(screen: Screen) -> None:
        screen.say("", f"ready at {settings.api_url}, in a browser too")
        for line in hints(settings, flower):
            screen.say("", line)

    return _supervise("up", [*first, rest], settings, ready)


@click.command()
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="ID",
    required=True,
    help="The base to keep warm; repeat for others, loaded when their jobs are worth it.",
)
@_on_gpus
@click.pass_obj
def worker(settings: Settings, models: tuple[str, ...], asked_gpus: str | None) -> int:
    """Run one worker, or one on each GPU.

    With --gpus a worker that dies is started again, and all end together.
    """
    programs.need_worker_packages()
    served = _models(settings, models)
    found = gpus.chosen(asked_gpus, settings)
    if not found:
        # Celery takes a while to import, and `submit` does without.
        from lorajobs.worker import run_worker

        return run_worker(settings, served)
    # The API that would say when they are ready may be out of this machine's reach.
    group = [
        program._replace(ready=None, verbose=True)
        for program in programs.metered(_workers(settings, served, found), settings)
    ]
    return _supervise("gpus", [group], settings)


@click.command()
@click.pass_obj
def courier(settings: Settings) -> int:
    """Run the courier: webhooks and lost jobs."""
    from lorajobs.courier import run_courier

    return run_courier(settings)


@click.command()
@click.pass_obj
def api(settings: Settings) -> None:
    """Run the HTTP API under gunicorn."""
    Catalog.load(settings.config)
    _need_checkers(settings)
    _become(programs.api(settings))


@click.command()
@click.pass_obj
def flower(settings: Settings) -> None:
    """Run Flower, the monitor of the queues."""
    _become(programs.flower(settings))


def _need_checkers(settings: Settings) -> None:
    """A process of the group could only say it in its log."""
    from lorajobs.moderation import PromptGate, require_image_checker

    PromptGate.of(settings)
    require_image_checker(settings)


def _become(program: Program) -> None:
    os.execve(program.argv[0], list(program.argv), dict(program.env))


def _models(settings: Settings, asked: Sequence[str]) -> list[str]:
    """The ids of the bases to serve."""
    catalog = Catalog.load(settings.config)
    known = ", ".join(catalog.models)
    if not asked:
        if len(catalog.models) > 1:
            raise ConfigError(f"several bases are configured, choose with --model: {known}")
        return list(catalog.models)
    served = []
    for name in asked:
        if (entry := catalog.model(name)) is None:
            raise ConfigError(f"--model {name}: no such base is configured; known are {known}")
        served.append(entry.id)
    return list(dict.fromkeys(served))


def own_reach(settings: Settings) -> Mapping[str, object]:
    """What a local API's users may call besides, unless settings say: their own machine."""
    names = {"webhook_private", "fetch_private"} if is_local(settings) else set()
    return dict.fromkeys(names - settings.model_fields_set, LOOPBACK)


def _embedded(
    settings: Settings, port: int | None, data_dir: Path | None
) -> tuple[Settings, EmbeddedValkey | None]:
    """The group's settings, and its own Valkey unless the operator named a Redis."""
    given = settings.model_fields_set
    data = (data_dir or settings.data_dir).expanduser().absolute()
    port = port or settings.api_port
    if not is_free(settings.api_host, port):
        raise ConfigError(f"port {port} is in use, perhaps by another `up`: choose with --port")
    local = f"http://{programs.address(settings.api_host, port)}"
    update: dict[str, object] = {"data_dir": data, "api_port": port, "api_url": local}
    if "flower_port" not in given:
        update["flower_port"] = free_port(settings.flower_port)
    update |= own_reach(settings)
    server = None
    if "redis_url" not in given:
        server = EmbeddedValkey(data / "valkey")
        update["redis_url"] = server.url
    return settings.model_copy(update=update), server


def _workers(settings: Settings, models: Sequence[str], found: Sequence[Gpu]) -> list[Program]:
    """One worker of all bases on each GPU; without any, one of each on whatever device there is."""
    if not found:
        return [programs.worker(settings, [model]) for model in models]
    shares = gpus.shares(settings, found)
    # Each begins with another base, so that none is cold as long as there are GPUs enough.
    turned = [[*models[n % len(models) :], *models[: n % len(models)]] for n in range(len(found))]
    return [
        programs.worker(share, bases, gpu)
        for share, bases, gpu in zip(shares, turned, found, strict=True)
    ]


def _supervise(
    title: str,
    stages: Sequence[Sequence[Program]],
    settings: Settings,
    ready: Callable[[Screen], None] = lambda screen: None,
) -> int:
    names = [program.name for stage in stages for program in stage]
    screen = Screen(title, names)
    logs = settings.data_dir.expanduser().absolute() / "logs"
    screen.say("", f"starting {', '.join(names)}; logs in {logs}")
    return Supervisor(stages, logs, screen.say, lambda: ready(screen)).run()


def hints(settings: Settings, flower: bool) -> list[str]:
    """What `up` says to do next, with every variable that other terminals need."""
    needed = []
    # A password that somebody set is not repeated to whoever sees this terminal.
    values = settings.shown()
    for name in ("api_url", "redis_url", "data_dir"):
        row = next(r for r in Settings.table() if r.variable == f"LORAJOBS_{name.upper()}")
        value = values[row.variable]
        if value != row.default and os.path.expanduser(row.default) != value:
            needed.append(f"export {row.variable}={value}")
    closed = settings.require_keys != "never" and not is_local(settings)
    return [
        *([f"Flower at http://127.0.0.1:{settings.flower_port}"] if flower else []),
        *(["commands in another terminal need:", *needed] if needed else []),
        *(["every request needs a key: lorajobs keys create NAME"] if closed else []),
        *([] if settings.config else ['try: lorajobs submit "a red heart" --lora pixel --watch']),
        f"Ctrl-C stops everything; running jobs have {settings.shutdown_grace_s:g} s to end",
    ]
