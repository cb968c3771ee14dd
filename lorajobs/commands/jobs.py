"""Commands for jobs, over the HTTP API."""

import json
import re
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from lorajobs.client import TERMINAL, Client, Document
from lorajobs.client_errors import ClientError
from lorajobs.commands.request import body, numbered, picture_options
from lorajobs.settings import Settings

url_option = click.option(
    "--url", metavar="URL", help="The API.  [default: LORAJOBS_API_URL or http://127.0.0.1:8000]"
)
#: A URL, or a picture that the API has already.
_KEPT = re.compile(r"https?://|image-[0-9a-f]{64}$")
SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}
out = Console(highlight=False, markup=False, soft_wrap=True)


@click.command()
@picture_options
@click.option(
    "--watch", "--wait", is_flag=True, help="Wait with a progress bar, then save the picture."
)
@url_option
@click.pass_obj
def submit(
    settings: Settings,
    /,
    model: str | None,
    file: Path | None,
    watch: bool,
    url: str | None,
    **asked: object,
) -> int:
    """Submit a job; with --watch, save its picture.

    Without --watch or -o the id of the job is printed, for `status` and `cancel`.
    """
    with _client(settings, url) as client:
        asked["image"] = _uploaded(client, asked["image"])
        job = client.submit(body(asked, model or _only_model(client), file))
        _print_warnings(job)
        if not (watch or file):
            out.print(job["id"])
            return 0
        return _watch(client, job, file)


@click.command()
@click.argument("job_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="The job as the API sends it.")
@url_option
@click.pass_obj
def status(settings: Settings, job_id: str, as_json: bool, url: str | None) -> None:
    """Show where a job stands."""
    with _client(settings, url) as client:
        job = client.get(job_id)
    if as_json:
        click.echo(json.dumps(job, indent=2, ensure_ascii=False))
    else:
        out.print(_table(job))


@click.command()
@click.argument("job_id", metavar="ID")
@url_option
@click.pass_obj
def cancel(settings: Settings, job_id: str, url: str | None) -> None:
    """Cancel a job; a running one stops at its next step."""
    with _client(settings, url) as client:
        job = client.cancel(job_id)
    asked = job["status"] == "running"
    out.print(f"{job['id']}: {'asked to stop' if asked else job['status']}")


def _client(settings: Settings, url: str | None) -> Client:
    key = settings.api_key
    return Client(url or settings.api_url, api_key=key.get_secret_value() if key else None)


def _uploaded(client: Client, image: object) -> object:
    """A URL or id as it is; of a file the id under which the API keeps it now."""
    if not isinstance(image, str) or _KEPT.match(image):
        return image
    try:
        return client.upload_image(Path(image).expanduser())["id"]
    except OSError as error:
        raise ClientError(f"{image} was not read", str(error.strerror)) from error


def _only_model(client: Client) -> str:
    ids = [str(model["id"]) for model in client.models()]
    if len(ids) != 1:
        raise click.UsageError(f"choose a base with --model: {', '.join(ids)}")
    return ids[0]


def _watch(client: Client, job: Document, file: Path | None) -> int:
    job_id = job["id"]
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[done]}")
    try:
        with Progress(
            *columns,
            TimeElapsedColumn(),
            console=out,
            transient=True,
            disable=not out.is_terminal,
        ) as progress:
            bar = progress.add_task(_phase(job), total=None, done="")
            for event in client.stream(job_id):
                if event.kind in TERMINAL:
                    job = event.data
                elif event.kind == "progress":
                    step, steps = event.data["step"], event.data["steps"]
                    told = {"total": steps, "completed": step, "done": f"{step}/{steps}"}
                    progress.update(bar, description=_words(event.data["stage"]), **told)
                elif event.kind == "running":
                    progress.update(bar, description="running")
    except KeyboardInterrupt:
        out.print(f"the job goes on; `lorajobs status {job_id}`, `lorajobs cancel {job_id}`")
        return 130
    if job["status"] != "succeeded":
        Console(stderr=True, soft_wrap=True).print(Text(f"{job_id}: {_end(job)}", style="red"))
        return 1
    _save(client, job, file)
    return 0


def _save(client: Client, job: Document, file: Path | None) -> None:
    # Without those that were withheld, of which a warning tells.
    outputs = [output for output in job["outputs"] if output["url"]]
    suffix = SUFFIXES.get(outputs[0]["content_type"], "")
    files = numbered(file or Path(f"lorajobs-{job['id'][:8]}{suffix}"), len(outputs))
    _print_warnings(job)
    for output, target in zip(outputs, files, strict=True):
        data = client.download(output)
        try:
            target.write_bytes(data)
        except OSError as error:
            raise ClientError(f"{target} was not written", str(error.strerror)) from error
        out.print(f"saved {target}  seed {output['seed']}, {_loras(job)}, {_seconds(job)}")


def _phase(job: Document) -> str:
    queue = job["queue"]
    if job["status"] == "queued" and queue:
        return f"queued, {queue['position']} before it"
    return _words(job["stage"] or job["status"])


def _words(name: str) -> str:
    return name.replace("_", " ")


def _end(job: Document) -> str:
    error = job["error"]
    return f"{job['status']}: {error['title']}: {error['detail']}" if error else job["status"]


def _loras(job: Document) -> str:
    used = [f"{lora['id']} × {lora['scale']:g}" for lora in job["applied_loras"]]
    return ", ".join(used) or "base alone"


def _seconds(job: Document) -> str:
    metrics = job["metrics"]
    spent = {name: metrics[f"{name}_s"] for name in ("queue", "swap", "generate", "upload")}
    return ", ".join(f"{name} {value:.2f} s" for name, value in spent.items() if value is not None)


def _print_warnings(job: Document) -> None:
    console = Console(file=sys.stderr, soft_wrap=True)
    for warning in job["warnings"]:
        console.print(Text(f"warning: {warning['detail']}", style="yellow"))


def _table(job: Document) -> Table:
    """A job in two columns."""
    rows = {
        "id": job["id"],
        "status": _phase(job) if job["error"] is None else _end(job),
        "progress": f"{job['progress']['step']}/{job['progress']['steps']} steps",
        "prompt": job["input"]["prompt"],
        "model": job["input"]["model"],
        "applied": _loras(job) if job["applied_loras"] or job["outputs"] else "",
        "seed": str(job["input"]["seed"]),
        "attempts": str(job["attempts"]),
        "created": job["created_at"],
        "started": job["started_at"],
        "completed": job["completed_at"],
        "spent": _seconds(job),
        "warnings": "\n".join(warning["detail"] for warning in job["warnings"]),
        "pictures": "\n".join(output["url"] or "withheld" for output in job["outputs"]),
    }
    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        if value:
            table.add_row(Text(name, style="bold"), Text(str(value)))
    return table
