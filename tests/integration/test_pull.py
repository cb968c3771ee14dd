"""`lorajobs pull`, as an operator types it, from a hub over HTTP."""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lorajobs.cli import main
from lorajobs.doctor.bases import bases
from lorajobs.doctor.finding import State
from lorajobs.settings import Settings
from tests.lora_files import DEMO_LORAS
from tests.services.hub import Hub, Repo, hub
from tests.services.server import HOST, free_ports

PIXEL = (DEMO_LORAS / "pixel.safetensors").read_bytes()
INDEX = {"_class_name": "X", "unet": ["diffusers", "UNet"], "scheduler": ["diffusers", "S"]}
CONFIG = """
[models.mine]
repo = "owner/base"

[models.other]
path = "other"

[loras.pixel]
source = "hf:owner/pixel"
base = "mine"
"""
Run = Callable[..., Result]


def a_weight() -> bytes:
    header = json.dumps({"w": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4)


BASE = {
    "model_index.json": json.dumps(INDEX).encode(),
    "unet/config.json": b"{}",
    "unet/diffusion_pytorch_model.safetensors": a_weight(),
    "unet/diffusion_pytorch_model.fp16.safetensors": a_weight(),
    "scheduler/scheduler_config.json": b"{}",
    "picture.png": b"not needed",
}


@pytest.fixture
def site() -> Iterator[Hub]:
    with hub() as made:
        made.add("owner/base", Repo(), BASE)
        made.add("owner/pixel", Repo(tags=("lora",)), {"pixel.safetensors": PIXEL})
        yield made


@pytest.fixture
def environment(site: Hub, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "lorajobs.toml").write_text(CONFIG)
    (tmp_path / "other").mkdir()
    (port,) = free_ports(1)
    return {
        "LORAJOBS_CONFIG": str(tmp_path / "lorajobs.toml"),
        "LORAJOBS_DATA_DIR": str(tmp_path / "data"),
        "LORAJOBS_HF_CACHE": str(tmp_path / "hub"),
        "LORAJOBS_REDIS_URL": f"redis://{HOST}:{port}/0",
        "HF_ENDPOINT": site.url,
    }


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    return lambda *words: CliRunner().invoke(main, ["pull", *words], env=environment)


def test_a_base_comes_once_and_only_what_it_needs(run: Run, tmp_path: Path) -> None:
    first = run("mine")
    assert first.exit_code == 0, first.output
    assert "fetched in" in first.output
    there = {path.name for path in (tmp_path / "hub").rglob("snapshots/**/*") if path.is_file()}
    assert "diffusion_pytorch_model.safetensors" in there
    assert not {"picture.png", "diffusion_pytorch_model.fp16.safetensors"} & there
    again = run("mine")
    assert "was here already" in again.output


def test_all_of_them_without_a_redis(run: Run, tmp_path: Path) -> None:
    result = run("--all")
    assert result.exit_code == 0, result.output
    assert "configured adapters only" in result.stderr
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == [
        "mine",
        "other",
        "pixel",
    ]
    (kept,) = (tmp_path / "data" / "adapters").glob("*.safetensors")
    assert kept.read_bytes() == PIXEL


def test_an_adapter_by_its_reference(run: Run) -> None:
    result = run("hf:owner/pixel")
    assert result.exit_code == 0, result.output
    assert f"{len(PIXEL) / 1e6:,.1f} MB" in result.stdout


def test_what_cannot_be_had_is_said_and_the_rest_comes(run: Run, site: Hub) -> None:
    site.repos["owner/base"].gated = True
    result = run("mine", "pixl", "pixel")
    assert result.exit_code == 1
    mine, pixl, pixel = result.stdout.splitlines()
    assert "gated, private or missing" in mine
    assert "HF_TOKEN" in mine
    assert "known are `pixel`" in pixl
    assert "fetched in" in pixel


def test_a_name_is_told_as_it_was_typed(run: Run) -> None:
    result = run("mine[/v2]")
    assert result.exit_code == 1
    assert result.stdout.startswith("mine[/v2]: ")


def test_a_hub_that_does_not_answer(run: Run, site: Hub) -> None:
    site.broken = 503
    result = run("mine")
    assert result.exit_code == 1
    assert "cannot be asked" in result.stdout


def test_nothing_or_both_is_a_mistake(run: Run) -> None:
    assert run().exit_code == run("--all", "mine").exit_code == 2


def test_the_doctor_tells_whether_it_is_here(
    run: Run, environment: dict[str, str], site: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_env()
    _, remote, _ = bases(settings)
    assert remote.state is State.WARNING
    assert "lorajobs pull mine" in remote.way_out
    run("mine")
    _, here, _ = bases(settings)
    assert here.state is State.OK
    site.broken = 503
    assert list(bases(settings))[1].state is State.OK
