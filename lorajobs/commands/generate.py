"""The command that makes a picture in this process: the worker's engine without any queue."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from lorajobs import programs
from lorajobs.catalog import Catalog
from lorajobs.client import ClientError
from lorajobs.commands.request import body, numbered, picture_options
from lorajobs.engine.base import LocalAdapter
from lorajobs.errors import ConfigError
from lorajobs.jobs import AppliedLora, JobSpec
from lorajobs.pictures import describe, encode
from lorajobs.request import JobRequest
from lorajobs.settings import Settings

out = Console(highlight=False, soft_wrap=True)


@click.command()
@picture_options
@click.pass_obj
def generate(settings: Settings, /, model: str | None, file: Path | None, **asked: object) -> None:
    """Make a picture here, without API or queue.

    The engine and the adapters are the same as a worker's. An adapter may also be a file or PEFT
    folder on this machine.
    """
    programs.need_worker_packages()
    catalog = Catalog.load(settings.config)
    settings, asked = _local_adapters(settings, asked)
    request = body(asked, model or _only_model(catalog), file)
    _generate(settings, catalog, request, file)


def _generate(
    settings: Settings, catalog: Catalog, request: Mapping[str, object], file: Path | None
) -> None:
    from lorajobs.adapters.library import Library
    from lorajobs.adapters.registry import MemoryLoraRegistry
    from lorajobs.engine.pipeline import DiffusersEngine
    from lorajobs.plan import plan
    from lorajobs.storage import open_store

    library = Library(settings, catalog, MemoryLoraRegistry(), open_store(settings))
    parsed = JobRequest.parse(json.dumps(request).encode())
    planned = plan(parsed, catalog, library, lambda url: None)
    spec = planned.spec
    with Progress(console=out, transient=True) as progress:
        bar = progress.add_task(f"loading {spec.model}", total=None)
        engine = DiffusersEngine(catalog.require(spec.model), settings)
        engine.load()
        progress.update(bar, description="loading adapters")
        applied = engine.apply([LocalAdapter(u, library.ensure(u.adapter)) for u in spec.loras])
        progress.update(bar, description="denoising", total=spec.num_inference_steps)
        made = engine.generate(spec, lambda step: progress.update(bar, completed=step))
    for warning in (*planned.warnings, *made.warnings):
        click.secho(f"warning: {warning.detail}", fg="yellow", err=True)
    files = numbered(file or Path(f"lorajobs-{spec.seed}.png"), len(made.pictures))
    for picture, target in zip(made.pictures, files, strict=True):
        text = describe(spec, picture.seed, applied) if settings.picture_metadata else None
        data = encode(picture.image, spec.output, text).data
        try:
            target.write_bytes(data)
        except OSError as error:
            raise ClientError(f"{target} was not written", str(error.strerror)) from error
        out.print(f"saved {target}  seed {picture.seed}, {_names(spec, applied)}")


def _names(spec: JobSpec, applied: Sequence[AppliedLora]) -> str:
    return ", ".join(f"{lora.id} × {lora.scale:g}" for lora in applied) or f"{spec.model} alone"


def _only_model(catalog: Catalog) -> str:
    if len(catalog.models) != 1:
        raise ConfigError(f"choose a base with --model: {', '.join(catalog.models)}")
    return next(iter(catalog.models))


def _local_adapters(
    settings: Settings, asked: Mapping[str, object]
) -> tuple[Settings, dict[str, object]]:
    """Lets files be read that the caller names: unlike a client of the API, it is our own user."""
    roots, loras = list(settings.lora_roots), []
    given = asked["loras"]
    for lora in given if isinstance(given, list) else []:
        file = Path(str(lora.get("path", ""))).expanduser()
        if "path" in lora and file.exists():
            lora = {**lora, "path": str(file.resolve())}
            roots.append(file.resolve().parent)
        loras.append(lora)
    return settings.model_copy(update={"lora_roots": tuple(roots)}), {**asked, "loras": loras}
