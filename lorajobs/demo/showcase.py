"""Sixteen jobs through the real API, queue and worker, and what came of them."""

import io
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from lorajobs.client import TERMINAL, Client, Document
from lorajobs.client_errors import ClientError
from lorajobs.demo.group import Group, GroupFailed, running_group
from lorajobs.demo.sheet import contact_sheet
from lorajobs.setting_fields import PREFIX
from lorajobs.settings import Settings

PROMPTS = ("a red heart", "grinning cat", "birthday cake", "a rocket")
BASE_ALONE = "base alone"
STYLES = (BASE_ALONE, "pixel", "soft3d", "lineart")
SEED = 7
POLL_S = 0.25
#: A stuck job must not keep a terminal for ever.
PATIENCE_S = 300.0


class Shot(NamedTuple):
    """One of the pictures to make."""

    prompt: str
    style: str

    @property
    def loras(self) -> list[dict[str, object]]:
        """The adapters to ask for."""
        return [] if self.style == BASE_ALONE else [{"id": self.style, "scale": 1.0}]

    @property
    def file(self) -> str:
        """The picture's name in the folder."""
        return f"{self.prompt} {self.style}.png".replace(" ", "-")


class Result(NamedTuple):
    """An ended job, and the picture if it made one."""

    shot: Shot
    job: Document
    data: bytes | None

    def report(self) -> Document:
        """Its entry of `report.json`."""
        metrics = self.job["metrics"]
        return {
            "id": self.job["id"],
            "prompt": self.shot.prompt,
            "loras": self.shot.loras,
            "seed": self.job["input"]["seed"],
            "status": self.job["status"],
            "file": self.shot.file if self.data else None,
            "sha256": self.job["outputs"][0]["sha256"] if self.data else None,
            **{name: metrics[name] for name in ("queue_s", "swap_s", "generate_s", "upload_s")},
        }


def run(out: Path, settings: Settings) -> int:
    """Makes the pictures, `sheet.png` and `report.json`; 1 if a job failed."""
    console = Console(highlight=False)
    out.mkdir(parents=True, exist_ok=True)
    # The demo is the same whatever is configured.
    environment = {k: v for k, v in settings.environ().items() if not k.startswith(PREFIX)}
    started = time.monotonic()
    try:
        console.print("starting Valkey, API, worker and courier …")
        with running_group(environment) as group, Client(group.url) as client:
            results, first_s = _make(out, console, group, client, started)
            wall_s = time.monotonic() - started
    except (GroupFailed, ClientError, OSError) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    swaps = count_swaps([result.job for result in results])
    _write(out, results, swaps, wall_s)
    _print(console, out, results, swaps, first_s)
    return 0 if all(result.data for result in results) else 1


def count_swaps(jobs: Sequence[Document]) -> int:
    """Changes of the applied adapters or scales, also to or from none, in the order of starts.

    A worker begins with none; a job that never started counts for nothing.
    """
    ran = sorted((job for job in jobs if job["started_at"]), key=lambda job: job["started_at"])
    applied = [[], *([(lora["sha256"], lora["scale"]) for lora in j["applied_loras"]] for j in ran)]
    return sum(before != after for before, after in itertools.pairwise(applied))


def _make(
    out: Path, console: Console, group: Group, client: Client, started: float
) -> tuple[list[Result], float]:
    """Submits all jobs at once and saves each picture as its job ends."""
    waiting = {}
    for shot in itertools.starmap(Shot, itertools.product(PROMPTS, STYLES)):
        body = {"model": "demo", "prompt": shot.prompt, "loras": shot.loras, "seed": SEED}
        waiting[client.submit(body)["id"]] = shot
    order = list(waiting)
    results: dict[str, Result] = {}
    first_s = 0.0
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        bar = progress.add_task("loading the base", total=len(waiting))
        changed = time.monotonic()
        while waiting:
            group.check()
            for job in client.jobs(limit=2 * len(order)):
                if job["id"] not in waiting:
                    continue
                shot = waiting[job["id"]]
                if job["status"] in TERMINAL:
                    del waiting[job["id"]]
                    results[job["id"]] = _saved(out, client, shot, job)
                    first_s = first_s or time.monotonic() - started
                    progress.advance(bar)
                    changed = time.monotonic()
                elif job["status"] == "running":
                    progress.update(bar, description=f"{shot.prompt}, {shot.style}")
            if time.monotonic() - changed > PATIENCE_S:
                raise GroupFailed(f"no job ended in {PATIENCE_S:g} s; {len(waiting)} are left")
            time.sleep(POLL_S)
    return [results[job_id] for job_id in order], first_s


def _saved(out: Path, client: Client, shot: Shot, job: Document) -> Result:
    if job["status"] != "succeeded":
        return Result(shot, job, None)
    data = client.download(job["outputs"][0])
    (out / shot.file).write_bytes(data)
    return Result(shot, job, data)


def _write(out: Path, results: Sequence[Result], swaps: int, wall_s: float) -> None:
    pictures = {
        (shot.prompt, shot.style): Image.open(io.BytesIO(data))
        for shot, _, data in results
        if data is not None
    }
    contact_sheet(PROMPTS, STYLES, pictures).save(out / "sheet.png", optimize=True)
    jobs = [result.report() for result in results]
    report = {"jobs": jobs, "swaps": swaps, "wall_s": round(wall_s, 3)}
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")


def _print(
    console: Console, out: Path, results: Sequence[Result], swaps: int, first_s: float
) -> None:
    spent = ("queue_s", "swap_s", "generate_s", "upload_s")
    table = Table("prompt", "style", "status", *spent, box=None)
    for column in table.columns[3:]:
        column.justify = "right"
    for result in results:
        metrics = result.job["metrics"]
        times = ["" if metrics[name] is None else f"{metrics[name]:.2f}" for name in spent]
        table.add_row(result.shot.prompt, result.shot.style, result.job["status"], *times)
    console.print(table)
    for result in results:
        if error := result.job["error"]:
            text = f"{result.shot.file}: {error['title']}: {error['detail']}"
            console.print(text, style="red", markup=False)
    console.print(f"{swaps} swaps; the first picture came {first_s:.1f} s after the start")
    console.print(f"look at {out / 'sheet.png'}; all figures are in {out / 'report.json'}")
