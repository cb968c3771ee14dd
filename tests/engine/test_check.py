"""`lorajobs check`, as an operator types it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from lorajobs.cli import main
from tests.engine.adapters import UNET_MODULE, UNET_SHAPE, kohya, pair, prefixed, saved
from tests.lora_files import DEMO_LORAS


def check(folder: Path, *words: str | Path) -> Result:
    """Runs the command."""
    environment = {"LORAJOBS_DATA_DIR": str(folder / "data")}
    return CliRunner().invoke(main, ["check", *map(str, words)], env=environment)


def test_a_fitting_adapter(tmp_path: Path) -> None:
    state = kohya("pixel", 8) | {"v_pred": torch.zeros(1)}
    result = check(tmp_path, saved(tmp_path / "it.safetensors", state), "--model", "demo")
    assert result.exit_code == 0
    for said in (
        "LoRA in 84 modules",
        "rank      16",
        "alpha     8",
        "left out  v_pred: a mark of ComfyUI",
        "demo: Stable Diffusion with texts 192 wide",
        "84 weights of demo, all finite, strength 0.5",
        "ok",
    ):
        assert said in result.output


def test_a_peft_folder(tmp_path: Path) -> None:
    state = prefixed("base_model.model.", pair(UNET_MODULE, UNET_SHAPE))
    saved(tmp_path / "adapter_model.safetensors", state)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    result = check(tmp_path, tmp_path, "--model", "demo")
    assert result.exit_code == 0
    assert "1 weights of demo, all finite, strength 2" in result.output


@pytest.mark.parametrize(("width", "code"), [(192, 0), (768, 1)])
def test_a_folder_with_trained_tokens(tmp_path: Path, width: int, code: int) -> None:
    saved(tmp_path / "it.safetensors", prefixed("unet.", pair(UNET_MODULE, UNET_SHAPE)))
    saved(tmp_path / "it_emb.safetensors", {"clip_l": torch.ones(2, width)})
    result = check(tmp_path, tmp_path, "--model", "demo")
    assert result.exit_code == code
    assert "tokens    <s0> <s1>, in it_emb.safetensors" in result.output
    assert ("text_encoder needs (2, 192), it has (2, 768)" in result.output) == bool(code)


@pytest.mark.parametrize("model", [(), ("--model", "demo")])
def test_a_broken_one(tmp_path: Path, model: tuple[str, ...]) -> None:
    state = prefixed("unet.", pair(UNET_MODULE, UNET_SHAPE, std=float("inf")))
    result = check(tmp_path, saved(tmp_path / "it.safetensors", state), *model)
    assert result.exit_code == 1
    assert "refused   lora_not_finite" in result.output


def test_one_of_another_family(tmp_path: Path) -> None:
    state = pair("transformer.single_transformer_blocks.0.attn.to_q", (3072, 3072))
    path = saved(tmp_path / "it.safetensors", state)
    assert "family    Flux.1" in check(tmp_path, path).output
    result = check(tmp_path, path, "--model", "demo")
    assert result.exit_code == 1
    assert "refused   lora_wrong_family" in result.output


def test_a_file_that_is_none_and_one_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "page.safetensors").write_bytes(b"<html>Sign in</html>")
    result = check(tmp_path, tmp_path / "page.safetensors")
    assert result.exit_code == 1
    assert "refused   lora_invalid_file" in result.output
    assert check(tmp_path, "/nowhere/x.safetensors").exit_code == 1


def test_the_header_is_read_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'diffusers', 'peft')))\n"
        "from lorajobs.adapters.anatomy import anatomy, require\n"
        "from lorajobs.adapters.header import read_header\n"
        "import lorajobs.commands.check\n"
        "from pathlib import Path\n"
        "require(anatomy(read_header(Path(sys.argv[1]))), None)"
    )
    file = str(DEMO_LORAS / "pixel.safetensors")
    subprocess.run([sys.executable, "-c", code, file], check=True, timeout=60)
