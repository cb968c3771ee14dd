"""`lorajobs keys`, and the commands that show a key, on a real Valkey and a real server."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner, Result
from werkzeug.serving import make_server

from lorajobs.cli import main
from lorajobs.client import Client
from lorajobs.client_errors import ClientError
from lorajobs.settings import Settings
from tests.services.server import HOST, serving
from web import Deps, create_app

Run = Callable[..., Result]


@pytest.fixture
def settings(valkey_url: str, tmp_path: Path) -> Iterator[Settings]:
    with redis.Redis.from_url(valkey_url) as server:
        server.flushdb()
        yield Settings(redis_url=valkey_url, data_dir=tmp_path)
        server.flushdb()


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    """The API over HTTP."""
    server = make_server(HOST, 0, create_app(Deps.open(settings)), threaded=True)
    with serving(server):
        yield f"http://{HOST}:{server.server_port}"


@pytest.fixture
def run(settings: Settings) -> Run:
    def invoke(*words: str, **environment: str) -> Result:
        own = {"LORAJOBS_REDIS_URL": settings.redis_url, **environment}
        return CliRunner().invoke(main, words, env=own)

    return invoke


def test_a_key_is_made_listed_and_ended(run: Run) -> None:
    assert "no key was ever made" in run("keys", "list").stdout
    made = run("keys", "create", "anna", "--scope", "read", "--max-waiting", "5", "--rate", "60")
    assert made.exit_code == 0, made.output
    secret = made.stdout.strip()
    assert secret.startswith("lj_")
    assert "only here" in made.stderr
    key_id = secret.split("_")[1]
    listed = run("keys", "list").stdout
    assert all(word in listed for word in (key_id, "anna", "read", "5", "60/min"))
    assert secret.split("_", 2)[2] not in listed
    taken = run("keys", "create", "anna")
    assert (taken.exit_code, taken.stdout) == (1, "")
    assert "'anna' already" in taken.stderr
    assert run("keys", "revoke", "anna").stdout == f"revoked {key_id} (anna)\n"
    unknown = run("keys", "revoke", "anna")
    assert (unknown.exit_code, "no key has the id or name 'anna'" in unknown.stderr) == (1, True)
    assert run("keys", "create", "anna").exit_code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("create", "x", "--scope", "all"),
        ("create", "x", "--rate", "0"),
        ("create", "x", "--max-waiting", "0"),
        ("create", ""),
        ("create", "a\nb"),
    ],
)
def test_a_wrong_word_is_refused(run: Run, words: tuple[str, ...]) -> None:
    assert run("keys", *words).exit_code == 2
    assert "no key was ever made" in run("keys", "list").stdout


def test_a_keys_webhook_is_set_shown_and_taken_away(run: Run) -> None:
    allowed = {"LORAJOBS_WEBHOOK_PRIVATE": '["127.0.0.0/8"]'}
    hook = ("--webhook", "http://127.0.0.1:9/hook?token=hush", "--webhook-events", "started,failed")
    assert run("keys", "create", "anna", *hook, **allowed).exit_code == 0
    listed = run("keys", "list", COLUMNS="200").stdout
    assert "http://127.0.0.1:9/hook?… (started, failed)" in listed
    key_id = listed.split("\n")[1].split()[0]
    assert key_id in run("keys", "list", COLUMNS="80").stdout
    changed = run("keys", "set", "anna", "--webhook", "http://127.0.0.1:8/", **allowed)
    assert "http://127.0.0.1:8/ (succeeded, failed, canceled, expired)" in changed.stdout
    assert run("keys", "set", "anna", "--no-webhook").stdout.endswith("(anna): –\n")
    assert "127.0.0.1" not in run("keys", "list").stdout


def test_a_keys_secret_is_its_own_and_can_be_changed(run: Run) -> None:
    run("keys", "create", "anna")
    shared, first = (run("webhook-secret", *words).stdout for words in ((), ("anna",)))
    assert first.startswith("whsec_")
    assert first != shared
    rotated = run("keys", "set", "anna", "--rotate-webhook-secret")
    assert "its new secret" in rotated.stdout
    assert first not in rotated.stdout
    second = run("webhook-secret", "anna").stdout
    assert len({shared, first, second}) == 3
    assert run("webhook-secret").stdout == shared
    assert "no key has the id or name 'nix'" in run("webhook-secret", "nix").stderr


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--webhook", "http://127.0.0.1/"), 1, "not public"),
        (("--webhook", "ftp://a.example/"), 1, "must begin with https://"),
        (("--webhook", "https://a.example/", "--webhook-events", "ended"), 1, "/events"),
        (("--webhook-events", "failed"), 2, "only with --webhook"),
        (("--webhook", "https://a.example/", "--no-webhook"), 2, "--no-webhook"),
        ((), 2, "--rotate-webhook-secret"),
    ],
)
def test_a_wrong_webhook_changes_nothing(
    run: Run, words: tuple[str, ...], code: int, told: str
) -> None:
    run("keys", "create", "anna")
    before = run("keys", "list").stdout
    wrong = run("keys", "set", "anna", *words)
    assert (wrong.exit_code, told in wrong.stderr) == (code, True), wrong.output
    assert run("keys", "list").stdout == before


def test_the_commands_show_the_key_of_the_environment(run: Run, url: str) -> None:
    secret = run("keys", "create", "anna").stdout.strip()
    asked = ("submit", "a red heart", "--url", url, "--model", "demo")
    refused = run(*asked)
    assert refused.exit_code == 1
    assert "lorajobs keys create" in refused.stderr
    assert "LORAJOBS_API_KEY" in refused.stderr
    submitted = run(*asked, LORAJOBS_API_KEY=secret)
    assert submitted.exit_code == 0, submitted.output
    job_id = submitted.stdout.strip()
    canceled = run("cancel", job_id, "--url", url, LORAJOBS_API_KEY=secret)
    assert "canceled" in canceled.stdout
    wrong = run("status", job_id, "--url", url, LORAJOBS_API_KEY=secret + "x")
    assert "not valid" in wrong.stderr
    assert secret not in run("settings", LORAJOBS_API_KEY=secret).output


def test_a_client_with_a_key_submits_and_streams(run: Run, url: str) -> None:
    secret = run("keys", "create", "anna").stdout.strip()
    with Client(url, api_key=secret) as client:
        job = client.submit({"model": "demo", "prompt": "a red heart"})
        client.cancel(job["id"])
        assert [event.kind for event in client.stream(job["id"])] == ["queued", "canceled"]
    with Client(url) as client, pytest.raises(ClientError) as caught:
        client.get(job["id"])
    assert caught.value.status == 401
