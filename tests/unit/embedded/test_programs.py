from pathlib import Path

import pytest
from pydantic import SecretStr

from lorajobs.embedded import programs
from lorajobs.errors import ConfigError
from lorajobs.settings import Settings


def test_the_api_listens_where_the_settings_say() -> None:
    settings = Settings(api_host="::1", api_port=8123, api_workers=3, api_threads=7)
    argv = list(programs.api(settings).argv)
    assert argv[argv.index("--bind") + 1] == "[::1]:8123"
    assert argv[argv.index("--workers") + 1] == "3"
    assert argv[argv.index("--threads") + 1] == "7"
    assert argv[-1] == "web:create_app()"
    assert "--access-logfile" not in argv


def test_the_api_does_not_import_from_the_callers_folder() -> None:
    argv = list(programs.api(Settings()).argv)
    assert Path(argv[argv.index("--chdir") + 1], "web", "__init__.py").is_file()


def test_a_worker_has_time_for_its_running_job() -> None:
    program = programs.worker(Settings(stop_grace_s=77), "demo")
    assert program.argv[-3:] == ["worker", "--model", "demo"]
    assert program.grace_s == 77


def test_a_process_reads_the_settings_of_the_group() -> None:
    program = programs.courier(Settings(redis_url="redis://127.0.0.1:7777/0"))
    assert program.env["LORAJOBS_REDIS_URL"] == "redis://127.0.0.1:7777/0"


def test_nothing_is_ready_where_no_api_answers() -> None:
    settings = Settings(api_url="http://127.0.0.1:1")
    for program in (programs.api(settings), programs.worker(settings, "demo")):
        assert program.ready is not None
        assert not program.ready()


def test_flower_is_open_to_other_machines_only_with_a_password() -> None:
    with pytest.raises(ConfigError, match="LORAJOBS_FLOWER_AUTH"):
        programs.flower(Settings(flower_host="0.0.0.0"))
    program = programs.flower(Settings(flower_host="0.0.0.0", flower_auth=SecretStr("me:secret")))
    assert program.env["FLOWER_BASIC_AUTH"] == "me:secret"
    assert not any("secret" in word for word in program.argv)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *((host, True) for host in ("127.0.0.1", "127.3.2.1", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "10.0.0.1", "::", "gpu.example")),
    ],
)
def test_which_addresses_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert programs.is_loopback(host) is loopback
