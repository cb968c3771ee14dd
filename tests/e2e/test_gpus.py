"""`lorajobs worker --gpus`: a worker for each GPU, kept alive and ended together.

The GPUs are those of a driver that only lists them; the workers compute on the CPU.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lorajobs.catalog import DEMO
from lorajobs.processes.supervisor import EX_CONFIG
from lorajobs.redis_store import open_job_store
from lorajobs.settings import Settings
from tests.services.line import Line, children_of, environ, line
from tests.services.nvidia_smi import nvidia_smi, row, uuid
from tests.services.valkey import valkey

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

WARM_S = 150.0


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Line]:
    """A line whose machine has two GPUs of which nothing is used but the names."""
    (tmp_path / "valkey").mkdir()
    with valkey(tmp_path / "valkey") as server:
        path = nvidia_smi(tmp_path / "bin", [row(0), row(1)])
        env = {"LORAJOBS_REDIS_URL": server.url, "LORAJOBS_DEVICE": "cpu", "PATH": path}
        with line(tmp_path, **env) as made:
            made.env.pop("CUDA_VISIBLE_DEVICES", None)
            yield made


def start(machine: Line, asked: str = "all") -> "subprocess.Popen[bytes]":
    return machine.start("gpus", "-m", "lorajobs", "worker", "--model", "demo", "--gpus", asked)


def warm(machine: Line) -> dict[str, str]:
    """The names of the warm workers by the GPU that each may see."""
    return {
        environ(pid_in(worker["name"]))["CUDA_VISIBLE_DEVICES"]: worker["name"]
        for worker in machine.warm_workers()
        if pid_in(worker["name"]) in machine.left()
    }


def pid_in(name: str) -> int:
    return int(name.partition("@")[0].rpartition("-")[2])


def workers(machine: Line) -> dict[int, str]:
    return {pid: words for pid, words in machine.left().items() if " worker " in words}


def test_each_gpu_has_a_worker_that_is_replaced_and_all_end_together(machine: Line) -> None:
    machine.start_api()
    group = start(machine)
    machine.until(lambda: set(warm(machine)) == {uuid(0), uuid(1)}, "both are warm", WARM_S)
    first = warm(machine)
    log = machine.folder / "gpus.log"
    for number in (0, 1):
        assert f"worker.demo.gpu{number} │ " in log.read_text()
        assert (machine.data_dir / "logs" / f"worker.demo.gpu{number}.log").exists()

    both = [machine.submit(num_inference_steps=100, seed=seed)["id"] for seed in (1, 2)]
    for job_id in both:
        machine.reached(job_id, lambda job: job["status"] == "running")
    store = open_job_store(Settings(redis_url=machine.env["LORAJOBS_REDIS_URL"]))
    assert {store.get(job_id).worker for job_id in both} == set(first.values())
    assert [machine.ended(job_id)["status"] for job_id in both] == ["succeeded"] * 2

    os.kill(pid_in(first[uuid(1)]), signal.SIGKILL)
    machine.until(lambda: "gpu1 │ died (SIGKILL), starts again" in log.read_text(), "it is missed")
    machine.until(
        lambda: warm(machine).get(uuid(1)) not in (None, first[uuid(1)]), "it is back", WARM_S
    )
    assert warm(machine)[uuid(0)] == first[uuid(0)]

    running = machine.submit(num_inference_steps=100)["id"]
    machine.reached(running, lambda job: job["progress"]["step"] > 0)
    group.send_signal(signal.SIGTERM)
    assert group.wait(timeout=90) == 0
    assert workers(machine) == {}
    assert machine.job(running)["status"] == "succeeded", machine.logs()


def only_worker(machine: Line, group: "subprocess.Popen[bytes]") -> int:
    """The process id of the group's one worker, once that has a child which loads its base."""
    found: list[int] = []

    def loads() -> bool:
        # The driver's program is a child too.
        alone = {pid for pid, words in workers(machine).items() if "--gpus" not in words}
        found[:] = alone.intersection(children_of(group.pid))
        return bool(found) and bool(children_of(found[0]))

    machine.until(loads, "the worker has its child", WARM_S)
    return found[0]


def test_sigkill_of_the_group_leaves_no_worker(machine: Line) -> None:
    group = start(machine, "1")
    worker = only_worker(machine, group)
    assert environ(worker)["CUDA_VISIBLE_DEVICES"] == uuid(1)
    assert len(workers(machine)) == 3
    group.kill()
    group.wait()
    machine.until(lambda: workers(machine) == {}, "all are gone", 20)


def test_a_worker_whose_configuration_is_wrong_ends_the_group(machine: Line) -> None:
    config = machine.folder / "lorajobs.toml"
    config.write_text(f'[models.demo]\npath = "{DEMO.parent / "base"}"\n')
    machine.env["LORAJOBS_CONFIG"] = str(config)
    group = start(machine, "1")
    worker = only_worker(machine, group)
    config.write_text("[models.demo]\n")
    os.kill(worker, signal.SIGKILL)
    assert group.wait(timeout=60) == EX_CONFIG
    said = (machine.folder / "gpus.log").read_text()
    assert "gpu1 │ died (SIGKILL), starts again" in said
    assert "models.demo: Value error, give either `path` or `repo`" in said
    assert "gpu1 │ its configuration is wrong: stopping" in said
    assert workers(machine) == {}


def test_a_gpu_that_does_not_exist_is_refused_at_once(machine: Line) -> None:
    assert start(machine, "0,2").wait(timeout=60) == EX_CONFIG
    said = (machine.folder / "gpus.log").read_text()
    assert said == "--gpus 0,2: there is no GPU 2; there is 0, 1\n"
