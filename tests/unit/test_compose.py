"""`docker-compose.yml` as the real compose binary reads it; no engine is needed for that."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import compose
import pytest

from lorajobs.processes import programs
from lorajobs.settings import Settings

ROOT = Path(__file__).parents[2]
#: What the example leaves out, so that nobody runs with a password that all can read.
OWN = {"FLOWER_AUTH": "a:b", "GRAFANA_PASSWORD": "c"}
BINARY = Path(compose.__path__[0], "docker-compose")


def _config(
    env_file: Path, *profiles: str, env: dict[str, str] = OWN
) -> subprocess.CompletedProcess[str]:
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    return subprocess.run(
        [BINARY, "--env-file", env_file, *chosen, "config", "--format", "json"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    result = _config(ROOT / ".env.example", "*")
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)["services"]
    return found


def test_the_secrets_have_no_default(tmp_path: Path) -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY", *OWN):
        env_file = tmp_path / name
        env_file.write_text("\n".join(line for line in lines if not line.startswith(f"{name}=")))
        result = _config(env_file, "cpu", env={k: v for k, v in OWN.items() if k != name})
        assert result.returncode != 0
        assert f"required variable {name} is missing" in result.stderr


@pytest.mark.parametrize(("profile", "worker"), [("cpu", "worker-cpu"), ("gpu", "worker")])
def test_a_profile_starts_one_kind_of_worker(profile: str, worker: str) -> None:
    result = _config(ROOT / ".env.example", profile)
    started = set(json.loads(result.stdout)["services"])
    assert started == {"valkey", "s3", "api", "courier", "flower", worker}


def test_only_the_gpu_worker_reserves_a_gpu(services: dict[str, Any]) -> None:
    reserved = {
        name: service["deploy"]["resources"]["reservations"]["devices"][0]
        for name, service in services.items()
        if "deploy" in service
    }
    assert list(reserved) == ["worker"]
    assert reserved["worker"]["capabilities"] == ["gpu"]


def test_every_service_says_whether_it_is_healthy(services: dict[str, Any]) -> None:
    assert [name for name, service in services.items() if "healthcheck" not in service] == []


def test_images_are_pinned(services: dict[str, Any]) -> None:
    images = {service["image"] for service in services.values()}
    for file in ("Dockerfile.api", "Dockerfile.worker"):
        lines = (ROOT / "docker" / file).read_text().splitlines()
        images |= {line.split()[1] for line in lines if line.startswith("FROM")}
    for image in images:
        tag = image.partition(":")[2]
        assert tag.count(".") >= 1, image
        assert tag != "latest"


def test_our_images_run_as_nobody_special(services: dict[str, Any]) -> None:
    for name in ("api", "courier", "flower", "worker", "worker-cpu"):
        service = services[name]
        dockerfile = (ROOT / service["build"]["dockerfile"]).read_text()
        last_user = [line for line in dockerfile.splitlines() if line.startswith("USER")][-1]
        assert last_user == "USER 10001"
        assert service["cap_drop"] == ["ALL"]


def test_a_stopped_worker_can_hand_its_job_back_before_it_is_killed(
    services: dict[str, Any],
) -> None:
    needed_s = programs.worker(Settings(), ["demo"]).grace_s
    for name in ("worker", "worker-cpu"):
        given = re.fullmatch(r"(\d+)m(\d+)s", services[name]["stop_grace_period"])
        assert given
        assert int(given[1]) * 60 + int(given[2]) >= needed_s


def test_every_port_is_for_this_machine_until_opened(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert {port["target"] for port in ports} == {8000, 8333, 5555, 9090, 3000}
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_prometheus_scrapes_services_where_they_listen(services: dict[str, Any]) -> None:
    text = (ROOT / "docker" / "prometheus" / "prometheus.yml").read_text()
    targets = re.findall(r"names: \[([\w, -]+)\], type: A, port: (\d+)", text)
    found = {name.strip(): port for names, port in targets for name in names.split(",")}
    assert set(found) == {"api", "courier", "worker", "worker-cpu"}
    assert found.pop("api") == str(Settings().api_port)
    for name, port in found.items():
        environment = services[name]["environment"]
        assert environment["LORAJOBS_METRICS_PORT"] == port
        assert environment["LORAJOBS_METRICS_HOST"] == "0.0.0.0"


def test_monitoring_can_be_added_to_either_profile() -> None:
    result = _config(ROOT / ".env.example", "cpu", "monitoring")
    assert {"prometheus", "grafana", "worker-cpu"} <= set(json.loads(result.stdout)["services"])


def test_nobody_gets_in_with_what_the_example_says() -> None:
    result = _config(ROOT / ".env.example", "cpu", env={})
    assert result.returncode != 0


def test_every_file_that_a_service_reads_is_there(services: dict[str, Any]) -> None:
    mounted = [
        Path(volume["source"])
        for name in ("prometheus", "grafana")
        for volume in services[name]["volumes"]
        if volume["type"] == "bind"
    ]
    assert len(mounted) == 5
    assert [file for file in mounted if not file.is_file()] == []


def test_the_variables_are_settings(services: dict[str, Any]) -> None:
    known = {row.variable for row in Settings.table()}
    for name in ("api", "courier", "flower", "worker", "worker-cpu"):
        assert set(services[name]["environment"]) <= known


def test_the_queue_survives_a_restart_and_refuses_to_forget(services: dict[str, Any]) -> None:
    words = services["valkey"]["command"]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options == {
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--maxmemory-policy": "noeviction",
    }
    assert services["valkey"]["volumes"][0]["target"] == "/data"


def test_the_s3_server_reports_to_nobody(services: dict[str, Any]) -> None:
    assert "-master.telemetry=false" in services["s3"]["command"]


def test_no_torch_in_the_api_image() -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile.api").read_text()
    assert "[flower]" in dockerfile
    assert "worker" not in dockerfile
