from collections.abc import Callable
from pathlib import Path

import pytest

from lorajobs.errors import ConfigError
from lorajobs.processes.gpus import Gpu, chosen, shares
from lorajobs.settings import Settings
from tests.services.nvidia_smi import nvidia_smi, row, uuid

Driver = Callable[..., None]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Installs a driver that lists these rows."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(*rows: str, status: int = 0) -> None:
        monkeypatch.setenv("PATH", nvidia_smi(tmp_path / "bin", rows, status))

    return install


def numbers(asked: str, visible: str | None = None) -> list[int]:
    return [gpu.number for gpu in chosen(asked, Settings(cuda_visible_devices=visible))]


def complaint(asked: str, visible: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        chosen(asked, Settings(cuda_visible_devices=visible))
    return caught.value.detail


def test_every_gpu_is_described(driver: Driver) -> None:
    driver(row(1), row(0))
    assert chosen("all", Settings()) == [
        Gpu(number, uuid(number), "NVIDIA H200", "143771 MiB") for number in (0, 1)
    ]


def test_without_the_option_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert chosen(None, Settings()) == []


def test_numbers_choose_in_their_order(driver: Driver) -> None:
    driver(*map(row, range(4)))
    assert numbers("2, 0") == [2, 0]


@pytest.mark.parametrize(
    ("visible", "left"),
    [
        ("1,3", [1, 3]),
        ("3,1", [1, 3]),
        ("0,-1,2", [0]),
        (uuid(2), [2]),
        (f"{uuid(3)[:9]}, 0", [0, 3]),
    ],
)
def test_only_what_cuda_may_see_is_there(driver: Driver, visible: str, left: list[int]) -> None:
    driver(*map(row, range(4)))
    assert numbers("all", visible) == left


def test_a_number_keeps_its_meaning_where_others_are_hidden(driver: Driver) -> None:
    driver(*map(row, range(4)))
    assert numbers("3", "2,3") == [3]
    said = complaint("0,3", "2,3")
    assert "there is no GPU 0 with CUDA_VISIBLE_DEVICES=2,3; there is 2, 3" in said


def test_a_number_that_does_not_exist_names_those_that_do(driver: Driver) -> None:
    driver(row(0), row(1))
    assert complaint("0,2") == "--gpus 0,2: there is no GPU 2; there is 0, 1"


@pytest.mark.parametrize("asked", ["", "a", "0,", "-1", "0;1", "all,1"])
def test_what_is_no_number_is_refused(driver: Driver, asked: str) -> None:
    driver(row(0), row(1))
    assert "give `all`, or numbers such as 0,2" in complaint(asked)


def test_a_gpu_named_twice_is_refused(driver: Driver) -> None:
    driver(row(0), row(1))
    assert "named twice" in complaint("0,1,0")


@pytest.mark.parametrize("visible", ["", "-1", "NoDevFiles"])
def test_where_all_are_hidden_the_variable_is_named(driver: Driver, visible: str) -> None:
    driver(row(0))
    assert f"no GPU is left with CUDA_VISIBLE_DEVICES={visible}: unset it" in complaint(
        "all", visible
    )


@pytest.mark.parametrize("visible", ["7", "GPU-f", "GPU-", "MIG-1"])
def test_a_variable_that_names_no_gpu_is_named(driver: Driver, visible: str) -> None:
    driver(row(0), row(1))
    said = complaint("all", f"0,{visible}")
    assert f"CUDA_VISIBLE_DEVICES=0,{visible}: {visible} is not one of the GPUs 0, 1" in said


def test_without_a_driver_the_ways_out_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = complaint("all")
    assert "nvidia-smi is not on the PATH: install the driver" in said
    assert "leave --gpus out" in said


def test_a_driver_that_fails_is_quoted(driver: Driver) -> None:
    driver("NVIDIA-SMI has failed because it could not", "communicate.", status=9)
    said = complaint("all")
    assert "(exit status 9): NVIDIA-SMI has failed because it could not communicate.: " in said


def test_a_machine_without_a_gpu_says_so(driver: Driver) -> None:
    driver()
    assert "lists no GPU" in complaint("all")


def test_an_answer_in_another_form_is_quoted(driver: Driver) -> None:
    driver("zero, GPU-0, NVIDIA H200, 143771 MiB")
    assert "not understood: zero, GPU-0" in complaint("all")


def test_each_worker_sees_its_gpu_alone_and_never_a_cpu_instead(driver: Driver) -> None:
    driver(row(0), "1, [N/A], Tegra, with a comma, [N/A]")
    settings = Settings(lease_s=7, host_cache_mb=1001, parked_mb=301)
    parts = shares(settings, chosen("all", settings))
    assert [part.cuda_visible_devices for part in parts] == [uuid(0), "1"]
    assert [part.environ()["CUDA_VISIBLE_DEVICES"] for part in parts] == [uuid(0), "1"]
    assert {(part.device, part.lease_s) for part in parts} == {("cuda", 7)}
    assert {part.host_cache_mb for part in parts} == {500}
    assert {part.parked_mb for part in parts} == {150}


def test_the_operators_device_is_kept_unless_it_names_another_gpu(driver: Driver) -> None:
    driver(row(0))
    found = chosen("all", Settings())
    assert shares(Settings(device="cpu"), found)[0].device == "cpu"
    with pytest.raises(ConfigError, match="LORAJOBS_DEVICE=cuda:1"):
        shares(Settings(device="cuda:1"), found)
