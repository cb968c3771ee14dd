from pathlib import Path

import pytest
from pydantic import SecretStr

from lorajobs.errors import ConfigError
from lorajobs.processes import programs
from lorajobs.processes.gpus import Gpu
from lorajobs.settings import Settings


def test_the_api_listens_where_the_settings_say() -> None:
    settings = Settings(
        api_host="::1", api_port=8123, api_workers=3, api_threads=7, api_listeners=20
    )
    argv = list(programs.api(settings).argv)
    assert argv[argv.index("--bind") + 1] == "[::1]:8123"
    assert argv[argv.index("--workers") + 1] == "3"
    assert argv[argv.index("--threads") + 1] == "27"
    assert argv[-1] == "web:create_app()"
    assert "--access-logfile" not in argv


def test_the_api_does_not_import_from_the_callers_folder() -> None:
    argv = list(programs.api(Settings()).argv)
    assert Path(argv[argv.index("--chdir") + 1], "web", "__init__.py").is_file()


def test_a_worker_has_time_to_hand_its_running_job_back() -> None:
    program = programs.worker(Settings(shutdown_grace_s=60, step_timeout_s=7), ["demo"])
    assert program.argv[-3:] == ["worker", "--model", "demo"]
    assert program.grace_s == 60 + 7 + programs.HAND_BACK_S


def test_a_worker_of_a_gpu_is_named_after_it() -> None:
    gpu = Gpu(3, "GPU-a", "NVIDIA H200", "143771 MiB")
    program = programs.worker(Settings(), ["demo"], gpu)
    assert program.name == "worker.demo.gpu3"
    assert program.argv == programs.worker(Settings(), ["demo"]).argv


def test_a_process_reads_the_settings_of_the_group() -> None:
    program = programs.courier(Settings(redis_url="redis://127.0.0.1:7777/0"))
    assert program.env["LORAJOBS_REDIS_URL"] == "redis://127.0.0.1:7777/0"


def test_nothing_is_ready_where_no_api_answers() -> None:
    settings = Settings(api_url="http://127.0.0.1:1", redis_url="redis://127.0.0.1:1/0")
    for program in (programs.api(settings), programs.worker(settings, ["demo"])):
        assert program.ready is not None
        assert not program.ready()


def test_flower_is_open_to_other_machines_only_with_a_password() -> None:
    with pytest.raises(ConfigError, match="LORAJOBS_FLOWER_AUTH"):
        programs.flower(Settings(flower_host="0.0.0.0"))
    program = programs.flower(Settings(flower_host="0.0.0.0", flower_auth=SecretStr("me:secret")))
    assert program.env["FLOWER_BASIC_AUTH"] == "me:secret"
    assert not any("secret" in word for word in program.argv)


def test_each_process_of_a_group_has_its_own_port_for_metrics() -> None:
    settings = Settings(metrics_port=9100)
    group = [programs.worker(settings, ["a"]), programs.worker(settings, ["b"])]
    group.append(programs.courier(settings))
    ports = [program.env["LORAJOBS_METRICS_PORT"] for program in programs.metered(group, settings)]
    assert ports == ["9100", "9101", "9102"]


def test_without_a_port_for_metrics_a_group_has_none() -> None:
    group = [programs.courier(Settings())]
    (same,) = programs.metered(group, Settings())
    assert "LORAJOBS_METRICS_PORT" not in same.env
