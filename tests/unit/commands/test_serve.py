import socket
from pathlib import Path

from lorajobs.addresses import LOOPBACK
from lorajobs.commands.serve import hints, own_reach
from lorajobs.embedded.ports import free_port
from lorajobs.embedded.valkey import EmbeddedValkey
from lorajobs.processes.supervisor import EX_CONFIG
from lorajobs.settings import Settings
from tests.unit.conftest import Run


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


def test_an_unknown_model_names_the_known(run: Run) -> None:
    result = run("worker", "--model", "nix")
    assert result.exit_code == EX_CONFIG
    assert "--model nix: no such base is configured; known are demo" in result.stderr
