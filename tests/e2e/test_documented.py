"""What users start from is true of the running line: `examples/`, and `/openapi.json`."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest
from PIL import Image

from lorajobs.api_keys import Scope, create
from lorajobs.redis_keys import open_api_keys
from lorajobs.settings import Settings
from tests.lora_files import DEMO_LORAS
from tests.services.line import Line, line
from tests.services.receiver import receiver
from tests.services.valkey import valkey
from tests.services.walk import Walk
from web.gate import FOREIGN, OPEN
from web.openapi_routes import ROUTES

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NATIVE = {name: shape for name, shape in ROUTES.items() if name.partition(".")[0] not in FOREIGN}
BODY = {"model": "demo", "prompt": "a red heart", "loras": [{"id": "pixel"}], "seed": 7}
#: The operations that need nothing.
PLAIN = (
    "models.index",
    "usage.index",
    "webhooks.secret",
    "admin.overview",
    "health.alive",
    "health.ready",
    "metrics.index",
    "openapi.document",
)


class Place(NamedTuple):
    """A line of its own, and its server."""

    line: Line
    redis_url: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("documented")
    with valkey(tmp_path_factory.mktemp("documented-valkey")) as server:
        env = {"LORAJOBS_REDIS_URL": server.url, "LORAJOBS_RATE_PER_MINUTE": "100000"}
        env["LORAJOBS_LORA_ROOTS"] = json.dumps([str(DEMO_LORAS)])
        with line(folder, **env) as made:
            made.start_api()
            made.start_courier()
            made.start_painter(step_s=0.03)
            yield Place(made, server.url)


class Example(NamedTuple):
    """A script, its arguments, and what it says."""

    script: str
    arguments: tuple[str, ...]
    says: str


RUN = (
    Example("generate.py", ("made.png",), r"submitted \S+\nsaved made\.png\n"),
    Example("generate.sh", ("made.png",), r"submitted http\S+\nsaved made\.png\n"),
    Example(
        "follow.py", (), r"(?s)queued\nrunning\n.*denoising \d+/20\n.*succeeded\nmade with demo.*"
    ),
    Example(
        "adapters.py",
        (),
        r"there are lineart, pixel, soft3d\nabout to wait .*\n"
        r"applied pixel 0\.7 \w{8}\napplied lineart 0\.4 \w{8}\n2 pictures with .*\n",
    ),
    Example(
        "upload_adapter.py",
        (str(DEMO_LORAS / "pixel.safetensors"),),
        r"(?s)uploaded my-style \d+ bytes.*succeeded with \[\('my-style', 0\.8\)\]\n"
        r".*my-style 1 jobs .* GPU seconds\n.*",
    ),
    Example(
        "from_picture.py",
        (str(ROOT / "docs" / "sheet.png"),),
        r"uploaded \d+ x \d+\n"
        r"saved from-sheet-0\.3\.png after 6 steps\nsaved from-sheet-0\.7\.png after 14 steps\n",
    ),
    Example("huggingface_client.py", ("made.png",), r"saved made\.png \(128, 128\)\n"),
    Example("openai_client.py", ("made.png",), r"saved made\.png\n"),
    Example("replicate_client.py", ("made.png",), r"saved made\.png\n"),
    Example(
        "submit_once.py",
        (),
        r"the same job: True\nanother body is refused: 422\nsucceeded\n",
    ),
)


@pytest.mark.parametrize("example", RUN, ids=lambda example: example.script)
def test_an_example_does_what_it_says(place: Place, tmp_path: Path, example: Example) -> None:
    path = EXAMPLES / example.script
    reader = sys.executable if path.suffix == ".py" else "sh"
    env = {**os.environ, "LORAJOBS_API_URL": place.line.url, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [reader, str(path), *example.arguments],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr + place.line.logs()
    assert re.fullmatch(example.says, done.stdout), done.stdout
    if "made.png" in example.arguments:
        assert (tmp_path / "made.png").read_bytes().startswith(b"\x89PNG")


def test_all_examples_are_run_and_listed() -> None:
    scripts = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh")}
    # The receiver is the one of docs/webhooks.md, which test_webhooks.py runs.
    (documented,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "webhooks.md").read_text(), re.DOTALL
    )
    assert (EXAMPLES / "webhook_receiver.py").read_text().endswith(documented)
    assert scripts == {example.script for example in RUN} | {"webhook_receiver.py"}
    listed = (EXAMPLES / "README.md").read_text()
    assert scripts == set(re.findall(r"\[([\w.]+)\]\(\1\)", listed))


def test_every_good_answer_is_as_described(place: Place) -> None:
    walk = Walk(place.line.url)
    ended = an_ended_job(walk, place)
    other_jobs(walk, place)
    adapters(walk)
    images(walk)
    operators(walk, ended)
    for endpoint in PLAIN:
        walk.ask(endpoint, 200)
    for by in ("key", "adapter", "model"):
        walk.ask("usage.index", 200, query={"by": by})
    walk.ask("jobs.erase", 204, path_parameters={"job_id": ended})
    described = {
        (endpoint, status) for endpoint, shape in NATIVE.items() for status in shape.answers
    }
    # A key's own secret alone can be changed, see below.
    assert described - walk.seen == {("webhooks.rotate", 200)}


def an_ended_job(walk: Walk, place: Place) -> str:
    """Asks all that is there of a job which has ended; returns its id."""
    with receiver() as hooks:
        job = walk.send(BODY | {"webhook": {"url": hooks.url}}, 200, wait=60)
        hooks.wait(1)
        of_it = {"path_parameters": {"job_id": job["id"]}}
        walk.ask("jobs.show", 200, **of_it)
        walk.ask("jobs.cancel", 200, **of_it)
        (sent,) = walk.ask("deliveries.index", 200, **of_it)["deliveries"]
        again = {"path_parameters": {"job_id": job["id"], "delivery_id": sent["id"]}}
        walk.ask("deliveries.redeliver", 202, **again)
        hooks.wait(2)
    told = walk.ask("events.stream", 200, **of_it)
    last = re.findall(r"^id: (.+)$", told, re.MULTILINE)[-1]
    walk.ask("events.stream", 204, headers={"Last-Event-ID": last}, **of_it)
    walk.ask("jobs.output", 302, path_parameters={"job_id": job["id"], "index": 0})
    signed = urlsplit(job["outputs"][0]["url"])
    key = signed.path.removeprefix("/files/")
    file = {"path_parameters": {"key": key}, "query": dict(parse_qsl(signed.query))}
    etag = walk.answer("files.show", 200, **file).headers["etag"][0]
    walk.ask("files.show", 206, headers={"Range": "bytes=1-9"}, **file)
    walk.ask("files.show", 304, headers={"If-None-Match": etag}, **file)
    return str(job["id"])


def other_jobs(walk: Walk, place: Place) -> None:
    """Asks what only a job that has not ended, several of them or none answer."""
    walk.send(BODY, 200, dry_run=True)
    slow = walk.send(BODY | {"num_inference_steps": 100}, 202)
    place.line.reached(slow["id"], lambda job: job["progress"]["step"] > 0)
    walk.ask("jobs.cancel", 202, path_parameters={"job_id": slow["id"]})
    assert walk.ask("jobs.index", 200, query={"limit": 1})["next_cursor"]


def adapters(walk: Walk) -> None:
    """Asks what there is about adapters."""
    source = str(DEMO_LORAS / "pixel.safetensors")
    named = {"id": "walked", "source": source, "base": "demo"}
    walk.ask("loras.register", 201, body=named, media_type="application/json")
    of_it = {"path_parameters": {"lora_id": "walked"}}
    file = {"body": Path(source).read_bytes(), "media_type": "application/octet-stream"}
    walk.ask("uploads.upload", 201, query={"base": "demo"}, **file, **of_it)
    walk.ask("loras.show", 200, **of_it)
    walk.ask("loras.remove", 204, **of_it)
    walk.ask("loras.index", 200)
    walk.answer("loras.example", 200, path_parameters={"lora_id": "pixel"})
    walk.answer("models.example", 200, path_parameters={"model_id": "demo"})
    data = Path(source).read_bytes()
    told = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    asked = {"id": "walked", "upload": told, "base": "demo"}
    awaited = walk.ask("loras.register", 201, body=asked, media_type="application/json")
    upload = awaited["upload"]
    there = urlsplit(upload["url"])
    parts: dict[str, Any] = {"path_parameters": {"key": there.path.removeprefix("/files/")}}
    parts |= {"query": dict(parse_qsl(there.query)), "headers": upload["headers"]}
    walk.ask("files.receive", 200, body=data, media_type="application/octet-stream", **parts)
    walk.ask("loras.complete", 200, **of_it)
    walk.ask("loras.remove", 204, **of_it)


def images(walk: Walk) -> None:
    """Asks what there is about pictures to start from."""
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(picture, "PNG")
    image = walk.ask("images.upload", 201, body=picture.getvalue(), media_type="image/png")
    of_it = {"path_parameters": {"image_id": image["id"]}}
    walk.ask("images.show", 200, **of_it)
    walk.ask("images.remove", 204, **of_it)


def operators(walk: Walk, ended: str) -> None:
    """Asks what operators ask, of a job which has ended among others."""
    (queue,) = walk.ask("admin.overview", 200)["queues"]
    of_it = {"path_parameters": {"name": queue["workers"][0]["name"]}}
    walk.ask("admin.drain", 200, **of_it)
    walk.ask("admin.requeue", 202, path_parameters={"job_id": ended})
    purged = walk.ask("admin.purged", 200, path_parameters={"model": queue["model"]})
    assert purged == {"canceled": 1}
    walk.ask("admin.resume", 200, **of_it)


def fuzzed(place: Place, folder: Path, *options: str) -> None:
    """Lets schemathesis send what may and what may not be sent, the same in every run."""
    # Tested with their own clients.
    ours = [word for one in sorted(FOREIGN) for word in ("--exclude-tag", one)]
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("st")), "run", f"{place.line.url}/openapi.json"),
            *("--generation-deterministic", "--no-shrink", "--no-color", "--warnings", "off"),
            # What fits the schema can still name a model that is not there.
            *("--exclude-checks", "positive_data_acceptance", "--request-timeout", "30"),
            *(*ours, *options),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tested = re.search(r"^\s+Tested: (\d+)$", done.stdout, re.MULTILINE)
    assert tested, done.stdout
    # All but the description, which it reads.
    assert int(tested[1]) == len(NATIVE) - 1


def test_nothing_undocumented_is_answered_without_a_key(place: Place, tmp_path: Path) -> None:
    fuzzed(place, tmp_path, "--phases", "coverage")


# The last one: once there is a key, nobody can do without.
def test_nothing_undocumented_is_answered_with_keys(place: Place, tmp_path: Path) -> None:
    keys = open_api_keys(Settings(redis_url=place.redis_url))
    _, reader = create(keys, "reader", (Scope.READ,))
    _, submitter = create(keys, "submitter", (Scope.SUBMIT, Scope.READ))
    place.line.until(lambda: not place.line.answers("/v1/jobs"), "a key is needed")
    # One process says so; the other may remember for a second that there was none.
    place.line.restart_api()
    walk = Walk(place.line.url)
    shown = {"headers": {"Authorization": f"Bearer {reader}"}}
    for endpoint in sorted(NATIVE.keys() - OPEN):
        operation = walk.schema.find_operation_by_id(endpoint)
        names = {parameter.name: "0" for parameter in operation.path_parameters}
        walk.ask(endpoint, 401, path_parameters=names)
        if operation.method != "get":
            walk.ask(endpoint, 403, path_parameters=names, **shown)
    walk.ask("webhooks.rotate", 200, headers={"Authorization": f"Bearer {submitter}"})
    key = f"Authorization: Bearer {submitter}"
    fuzzed(place, tmp_path, "--phases", "fuzzing", "--max-examples", "3", "--header", key)
