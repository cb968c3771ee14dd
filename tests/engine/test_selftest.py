"""The self-test on the demo base: passed by a good engine, failed by one that leaves a trace."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from lorajobs.catalog import Catalog
from lorajobs.cli import main
from lorajobs.engine import device_report
from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.engine.random_lora import random_lora
from lorajobs.engine.selftest import exactness
from lorajobs.engine.trial import Trial, TrialEngine
from lorajobs.jobs import AppliedLora
from lorajobs.settings import Settings
from tests.engine.adapters import demo, pixels

ENTRY = Catalog.load(None).models["demo"]


class Careless(TrialEngine):
    """Leaves a bit of an adapter behind if it is told to."""

    leaks = False

    def apply(self, adapters: Sequence[LocalAdapter]) -> Sequence[AppliedLora]:
        applied = super().apply(adapters)
        if self.leaks and not adapters:
            # One weight, by the least that there is: no eye would see it.
            weight = self._pipe.unet.conv_in.bias.data
            weight[0] = torch.nextafter(weight[0], torch.tensor(9.0))
        return applied


@pytest.fixture(scope="module")
def careless() -> Careless:
    made = Careless(ENTRY, Settings(device="cpu"))
    made.load()
    return made


def test_the_demo_passes(tmp_path: Path) -> None:
    environment = {"LORAJOBS_DATA_DIR": str(tmp_path), "LORAJOBS_DEVICE": "cpu"}
    result = CliRunner().invoke(main, ["selftest", "--model", "demo"], env=environment)
    assert result.exit_code == 0, result.output
    assert result.output.count("pass") == 7
    for said in ("cpu, float32", "modules", "base + adapter to the bit", "swap", "ms"):
        assert said in result.output
    assert list(tmp_path.iterdir()) == []


def failed(engine: TrialEngine, adapter: LocalAdapter) -> list[str]:
    verdicts = list(exactness(Trial(engine, ENTRY), ENTRY, adapter))
    assert all(verdict.hint for verdict in verdicts if verdict.passed is False)
    return [verdict.text for verdict in verdicts if verdict.passed is False]


def test_an_adapter_that_does_nothing_is_found(careless: Careless) -> None:
    assert failed(careless, demo("pixel", scale=0.0)) == ["the adapter changes the picture"]


def test_a_trace_of_one_bit_is_found(careless: Careless) -> None:
    careless.leaks = True
    assert "all weights are as they were loaded" in failed(careless, demo("pixel"))


def test_the_made_up_adapter_is_one_of_rank_8_for_the_whole_denoiser(
    engine: DiffusersEngine, tmp_path: Path
) -> None:
    made = random_lora(engine._pipe, tmp_path)
    assert made.use.adapter.sha256 == random_lora(engine._pipe, tmp_path).use.adapter.sha256
    bare = pixels(engine)
    assert pixels(engine, made) != bare
    (applied,) = engine.applied()
    assert (applied.rank, applied.modules) == (8, 56)
    assert pixels(engine) == bare


def test_what_torch_can_do_here() -> None:
    told = device_report.report()
    assert told["torch"] == torch.__version__
    assert len(told["gpus"]) == torch.cuda.device_count()


def test_a_base_that_is_not_configured() -> None:
    result = CliRunner().invoke(main, ["selftest", "--model", "no-such"])
    assert result.exit_code == 78
    assert "demo" in result.output
