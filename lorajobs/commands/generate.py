"""The command that makes a picture in this process: the worker's engine without any queue."""

from collections.abc import Mapping
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from lorajobs.catalog import Catalog
from lorajobs.client_errors import ClientError
from lorajobs.commands.request import body, numbered, picture_options
from lorajobs.errors import ConfigError
from lorajobs.processes import programs
from lorajobs.settings import Settings


@click.command()
@picture_options
@click.pass_obj
def generate(settings: Settings, /, model: str | None, file: Path | None, **asked: object) -> None:
    """Make a picture here, without API or queue.

    The engine and the adapters are the same as a worker's. An adapter may also be a file or PEFT
    folder on this machine.
    """
    programs.need_worker_packages()
    # The other commands do without the adapters' and storage's libraries.
    from lorajobs import offline

    out = Console(highlight=False, markup=False, soft_wrap=True)
    catalog = Catalog.load(settings.config)
    settings, asked = _local_adapters(settings, catalog, asked)
    request = body(asked, model or _only_model(catalog), file)
    with Progress(console=out, transient=True, disable=not out.is_terminal) as progress:
        bar = progress.add_task("", total=None)

        def show(what: str, step: int, steps: int) -> None:
            progress.update(bar, description=what, completed=step, total=steps if step else None)

        made = offline.make(request, settings, catalog, show)
    for warning in made.warnings:
        click.secho(f"warning: {warning.detail}", fg="yellow", err=True)
    files = numbered(file or Path(f"lorajobs-{made.spec.seed}.png"), len(made.pictures))
    used = ", ".join(f"{lora.id} × {lora.scale:g}" for lora in made.applied) or "base alone"
    for (picture, seed), target in zip(made.pictures, files, strict=True):
        try:
            target.write_bytes(picture.data)
        except OSError as error:
            raise ClientError(f"{target} was not written", str(error.strerror)) from error
        out.print(f"saved {target}  seed {seed}, {used}")


def _only_model(catalog: Catalog) -> str:
    if len(catalog.models) != 1:
        raise ConfigError(f"choose a base with --model: {', '.join(catalog.models)}")
    return next(iter(catalog.models))


def _local_adapters(
    settings: Settings, catalog: Catalog, asked: Mapping[str, object]
) -> tuple[Settings, dict[str, object]]:
    """Lets files be read that the caller names: unlike a client of the API, it is our own user.

    A configured id comes before a file of the same name.
    """
    roots, loras = list(settings.lora_roots), []
    given = asked["loras"]
    for lora in given if isinstance(given, list) else []:
        name = str(lora.get("path") or lora["id"])
        file = Path(name).expanduser()
        if name and name not in catalog.loras and file.exists():
            lora = {key: value for key, value in lora.items() if key != "id"}
            lora["path"] = str(file.resolve())
            roots.append(file.resolve().parent)
        loras.append(lora)
    return settings.model_copy(update={"lora_roots": tuple(roots)}), {**asked, "loras": loras}
