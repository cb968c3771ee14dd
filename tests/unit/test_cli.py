import base64
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from lorajobs.addresses import LOOPBACK
from lorajobs.cli import HOMES, main
from lorajobs.commands.request import parse_lora
from lorajobs.commands.serve import hints, own_reach
from lorajobs.embedded.ports import free_port
from lorajobs.embedded.valkey import EmbeddedValkey
from lorajobs.processes.supervisor import EX_CONFIG
from lorajobs.settings import Settings
from tests.services.scripted_api import Answer, ScriptedApi, scripted_api
from tests.unit.documents import PICTURE, event_stream, job_document, output_document

Run = Callable[..., Result]


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    with scripted_api() as server:
        yield server


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()

    def invoke(*words: object, **environment: str) -> Result:
        return runner.invoke(main, [str(word) for word in words], env=environment)

    return invoke


@pytest.mark.parametrize(
    ("text", "lora"),
    [
        ("pixel", {"id": "pixel"}),
        ("pixel:0.9", {"id": "pixel", "scale": 0.9}),
        ("pixel:-1", {"id": "pixel", "scale": -1.0}),
        ("hf:owner/name", {"path": "hf:owner/name"}),
        ("hf:owner", {"path": "hf:owner"}),
        ("hf:owner/name@main:0.5", {"path": "hf:owner/name@main", "scale": 0.5}),
        ("https://host:8443/a.safetensors", {"path": "https://host:8443/a.safetensors"}),
        ("s3://bucket/key", {"path": "s3://bucket/key"}),
        ("/loras/a.safetensors:1.2", {"path": "/loras/a.safetensors", "scale": 1.2}),
    ],
)
def test_an_adapter_is_an_id_or_a_reference_with_a_scale(
    text: str, lora: dict[str, object]
) -> None:
    assert parse_lora(text) == lora


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


def test_generate_takes_a_file_of_this_folder_by_its_bare_name(run: Run) -> None:
    Path("lora.bin").write_bytes(b"pickled")
    words = ("generate", "a heart", "--model", "demo", "--lora", "lora.bin")
    result = run(*words, LORAJOBS_DATA_DIR="data")
    assert result.exit_code == 1
    assert "Pickled weights are refused" in result.stderr


def test_generate_takes_an_id_before_a_file_of_its_name(run: Run) -> None:
    Path("pixel").write_bytes(b"")
    words = ("generate", "a heart", "--model", "demo", "--lora", "pixel", "--lora", "pixl")
    result = run(*words, LORAJOBS_DATA_DIR="data")
    assert result.exit_code == 1
    assert "/loras/1/id" in result.stderr


def test_up_lets_a_local_api_s_users_call_their_own_machine() -> None:
    assert own_reach(Settings()) == {"webhook_private": LOOPBACK, "fetch_private": LOOPBACK}
    assert own_reach(Settings(fetch_private=())) == {"webhook_private": LOOPBACK}
    assert own_reach(Settings(api_host="0.0.0.0")) == {}
    # A proxy of this machine leads others to it.
    assert own_reach(Settings(public_url="https://api.example")) == {}


def test_up_hints_at_nothing_that_the_configuration_may_lack(tmp_path: Path) -> None:
    demo = hints(Settings(), flower=False)
    assert any("--lora pixel" in line for line in demo)
    own = hints(Settings(config=tmp_path / "lorajobs.toml"), flower=False)
    assert own == [line for line in demo if "--lora pixel" not in line]
    assert all(own)


def test_up_says_when_every_request_needs_a_key() -> None:
    need = "every request needs a key: lorajobs keys create NAME"
    assert need in hints(Settings(api_host="0.0.0.0"), flower=False)
    assert need not in hints(Settings(), flower=False)
    assert need not in hints(Settings(api_host="0.0.0.0", require_keys="never"), flower=False)


def test_up_repeats_no_password() -> None:
    lines = hints(Settings(redis_url="redis://:secret@elsewhere:6379/0"), flower=False)
    assert "export LORAJOBS_REDIS_URL=redis://**********@elsewhere:6379/0" in lines


def test_cancel_says_what_came_of_it(api: ScriptedApi, run: Run) -> None:
    job = job_document("running")
    ended = job_document("canceled")
    api.on("POST", f"/v1/jobs/{job['id']}/cancel", Answer(job, 202), Answer(ended))
    assert "asked to stop" in run("cancel", job["id"], "--url", api.url).stdout
    assert "canceled" in run("cancel", job["id"], "--url", api.url).stdout


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


def test_an_unknown_model_names_the_known(run: Run) -> None:
    result = run("worker", "--model", "nix")
    assert result.exit_code == EX_CONFIG
    assert "--model nix: no such base is configured; known are demo" in result.stderr


def test_up_refuses_a_taken_port(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("up", "--port", taken.getsockname()[1], "--data-dir", "data")
    assert result.exit_code == EX_CONFIG
    assert "choose with --port" in result.stderr


def test_up_refuses_a_folder_that_another_uses(run: Run) -> None:
    server = EmbeddedValkey(Path("data/valkey").absolute())
    result = run("up", "--port", free_port(), "--data-dir", "data")
    server.close()
    assert result.exit_code == EX_CONFIG
    assert f"a Valkey on port {server.port} already runs on" in result.stderr


def test_every_command_explains_itself(run: Run) -> None:
    for name in HOMES:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        assert (command.name, bool(command.help)) == (name, True)
        assert run(name, "--help").exit_code == 0
    _, _, listed = run("--help").stdout.partition("Commands:")
    assert "..." not in listed, "a first line is cut"
