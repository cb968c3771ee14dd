import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lorajobs.embedded.ports import free_port
from tests.services.scripted_api import Answer, ScriptedApi, scripted_api
from tests.unit.conftest import Run
from tests.unit.documents import PICTURE, event_stream, job_document, output_document


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    with scripted_api() as server:
        yield server


def test_submit_sends_what_was_typed_and_prints_the_id(api: ScriptedApi, run: Run) -> None:
    job = job_document("queued")
    api.on("POST", "/v1/jobs", Answer(job, 202))
    result = run(
        *("submit", "a red heart", "--url", api.url, "--model", "demo", "--lora", "pixel:0.9"),
        *("--lora", "soft3d", "--steps", 12, "--size", "128x96", "--seed", 0, "--num-images", 2),
        *("--on-lora-error", "skip"),
    )
    assert (result.exit_code, result.stdout) == (0, job["id"] + "\n")
    assert api.asked[-1][2] == {
        "model": "demo",
        "prompt": "a red heart",
        "loras": [{"id": "pixel", "scale": 0.9}, {"id": "soft3d"}],
        "num_inference_steps": 12,
        "width": 128,
        "height": 96,
        "seed": 0,
        "num_images": 2,
        "on_lora_error": "skip",
    }


def test_submit_uploads_a_picture_to_start_from_but_no_url(
    api: ScriptedApi, run: Run, tmp_path: Path
) -> None:
    api.on("POST", "/v1/images", Answer({"id": "image-1"}, 201))
    api.on("POST", "/v1/jobs", Answer(job_document("queued"), 202))
    file = tmp_path / "image-of-a-cat.png"
    file.write_bytes(PICTURE)
    words = ("submit", "a heart", "--model", "demo", "--url", api.url, "--strength", 0.6)
    assert run(*words, "--image", file).exit_code == 0
    assert api.asked[0] == ("POST", "/v1/images", PICTURE)
    assert (api.asked[1][2]["image"], api.asked[1][2]["strength"]) == ("image-1", 0.6)
    for image in ("https://host/a.png", "image-" + "0" * 64):
        run(*words, "--image", image)
        assert api.asked[-1][2]["image"] == image
    assert len(api.asked) == 4
    result = run(*words, "--image", tmp_path / "none.png")
    assert result.exit_code == 1
    assert "none.png was not read: No such file" in result.output


def test_submit_takes_the_only_model_there_is(api: ScriptedApi, run: Run) -> None:
    api.on("GET", "/v1/models", Answer({"models": [{"id": "demo"}]}))
    api.on("POST", "/v1/jobs", Answer(job_document("queued"), 202))
    run("submit", "a heart", LORAJOBS_API_URL=api.url)
    assert api.asked[-1][2] == {"model": "demo", "prompt": "a heart"}


def test_submit_asks_which_of_several_models(api: ScriptedApi, run: Run) -> None:
    api.on("GET", "/v1/models", Answer({"models": [{"id": "one"}, {"id": "two"}]}))
    result = run("submit", "a heart", "--url", api.url)
    assert result.exit_code == 2
    assert "choose a base with --model: one, two" in result.stderr


def test_submit_without_an_api_says_how_to_start_it(run: Run) -> None:
    result = run("submit", "a heart", "--url", f"http://127.0.0.1:{free_port()}")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "start it with `lorajobs up`" in line


def test_submit_shows_what_the_api_says_of_a_typo(api: ScriptedApi, run: Run) -> None:
    said = "no adapter is registered as 'pixl'; known are pixel, soft3d"
    problem = {
        "title": "Adapter not found",
        "detail": said,
        "errors": [{"pointer": "/loras/0/id", "detail": said}],
    }
    api.on("POST", "/v1/jobs", Answer(problem, 422, "application/problem+json"))
    result = run("submit", "a heart", "--model", "demo", "--lora", "pixl", "--url", api.url)
    assert result.exit_code == 1
    assert result.stderr == f"Adapter not found\n  /loras/0/id: {said}\n"


def test_submit_with_a_file_waits_and_saves(api: ScriptedApi, run: Run) -> None:
    queued = job_document("queued")
    outputs = [output_document(f"{api.url}/picture", i) for i in range(2)]
    warned = [{"code": "lora_scale", "detail": "pixel has the scale 5"}]
    done = job_document(outputs=outputs, warnings=warned)
    api.on("POST", "/v1/jobs", Answer(queued, 202))
    progress = {"stage": "loading_adapter", "step": 0, "steps": 20}
    events = event_stream(("queued", {}), ("progress", progress), ("succeeded", done))
    path = f"/v1/jobs/{queued['id']}/events"
    api.on("GET", path, Answer(events, content_type="text/event-stream"))
    api.on("GET", "/picture", Answer(PICTURE, content_type="image/jpeg"))
    result = run("submit", "a heart", "--model", "demo", "-o", "heart.jpg", "--url", api.url)
    assert result.exit_code == 0, result.output
    assert api.asked[0][2]["output"] == {"format": "jpeg"}
    assert [Path(f"heart-{i}.jpg").read_bytes() for i in range(2)] == [PICTURE, PICTURE]
    assert "saved heart-1.jpg  seed 8, pixel × 0.9, queue 0.50 s, swap 0.02 s" in result.stdout
    assert result.stderr == "warning: pixel has the scale 5\n"


def test_watch_of_a_failed_job_shows_why(api: ScriptedApi, run: Run) -> None:
    error = {"code": "oom", "title": "Out of memory", "detail": "try 512x512", "retryable": True}
    failed = job_document("failed", error=error)
    api.on("POST", "/v1/jobs", Answer(job_document("queued"), 202))
    events = Answer(event_stream(("failed", failed)), content_type="text/event-stream")
    api.on("GET", f"/v1/jobs/{failed['id']}/events", events)
    result = run("submit", "a heart", "--model", "demo", "--watch", "--url", api.url)
    assert result.exit_code == 1
    assert "failed: Out of memory: try 512x512" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--size", "big"), "give WIDTHxHEIGHT in pixels"),
        (("--lora", "pixel:nan"), "the scale 'nan' is not a finite number"),
        (("--lora", "pixel:"), "the scale '' is not a finite number"),
        (("--lora", "pixel:O.9"), "the scale 'O.9' is not a finite number"),
        (("--lora", "hf:owner/name:1e999"), "the scale '1e999' is not a finite number"),
        (("--guidance-scale", "nan"), "nan is not a finite number"),
        (("--guidance-scale", "inf"), "inf is not a finite number"),
        (("-o", "heart.gif"), "must end in one of .png"),
        (("-o", "nowhere/heart.png"), "there is no folder nowhere"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_call(
    api: ScriptedApi, run: Run, words: tuple[str, str], said: str
) -> None:
    result = run("submit", "a heart", *words, "--url", api.url)
    assert result.exit_code == 2
    assert said in result.stderr
    assert api.asked == []


def test_status_shows_a_job(api: ScriptedApi, run: Run) -> None:
    job = job_document("queued")
    api.on("GET", f"/v1/jobs/{job['id']}", Answer(job))
    shown = run("status", job["id"], "--url", api.url).stdout
    assert "queued, 3 before it" in shown
    assert "a red heart" in shown
    as_json = run("status", job["id"], "--json", "--url", api.url).stdout
    assert json.loads(as_json) == job


def test_an_id_leads_to_no_other_page(api: ScriptedApi, run: Run) -> None:
    api.on("GET", "/v1/models", Answer({"models": []}))
    result = run("status", "../models", "--url", api.url)
    assert result.exit_code == 1
    assert "Not found" in result.stderr
    run("cancel", "x?y#z", "--url", api.url)
    paths = [path for _, path, _ in api.asked]
    assert paths == ["/v1/jobs/..%2Fmodels", "/v1/jobs/x%3Fy%23z/cancel"]


@pytest.mark.parametrize("url", ["foo", "127.0.0.1:8000", "ftp://host", "http://"])
def test_what_is_no_web_address_is_called_so(run: Run, url: str) -> None:
    result = run("status", "x", "--url", url)
    assert result.exit_code == 1
    assert result.stderr == f"{url} is not an http(s) URL\n"


def test_cancel_says_what_came_of_it(api: ScriptedApi, run: Run) -> None:
    job = job_document("running")
    ended = job_document("canceled")
    api.on("POST", f"/v1/jobs/{job['id']}/cancel", Answer(job, 202), Answer(ended))
    assert "asked to stop" in run("cancel", job["id"], "--url", api.url).stdout
    assert "canceled" in run("cancel", job["id"], "--url", api.url).stdout
