"""`lorajobs generate` on the real demo base, as an operator types it."""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image, ImageStat
from safetensors.torch import save_file

from lorajobs.catalog import DEMO
from lorajobs.cli import main
from lorajobs.pictures import read_text
from tests.services.checkers import installed


def _generate(folder: Path, *words: str, prompt: str = "a red heart") -> str:
    result = CliRunner().invoke(
        main,
        ["generate", prompt, "--seed", "7", *words],
        env={"LORAJOBS_DATA_DIR": str(folder / "data")},
        catch_exceptions=False,
    )
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def _colour(file: Path) -> float:
    with Image.open(file) as image:
        return ImageStat.Stat(image.convert("HSV")).mean[1]


def test_an_adapter_from_a_file_changes_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(DEMO.parent / "loras" / "lineart.safetensors", "mine.safetensors")
    _generate(tmp_path, "-o", "plain.png", "--num-images", "2")
    said = _generate(tmp_path, "-o", "drawn.webp", "--lora", "./mine.safetensors:1.1")
    assert "mine.safetensors × 1.1" in said
    assert _colour(Path("drawn.webp")) < 30 < _colour(Path("plain-0.png"))
    assert read_text(Path("plain-1.png").read_bytes())["seed"] == "8"


def test_trained_tokens_come_with_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("it").mkdir()
    shutil.copy(DEMO.parent / "loras" / "lineart.safetensors", "it/mine.safetensors")
    words = ("--lora", "./it:0.5", "--steps", "2", "-o")
    _generate(tmp_path, *words, "without.png")
    save_file({"clip_l": torch.ones(2, 192)}, "it/mine_emb.safetensors")
    _generate(tmp_path, *words, "unnamed.png")
    _generate(tmp_path, *words, "named.png", prompt="a <s0><s1> heart")
    without, unnamed, named = (
        Image.open(f"{name}.png").tobytes() for name in ("without", "unnamed", "named")
    )
    assert without == unnamed != named


def test_a_picture_from_a_file_is_where_it_starts(tmp_path: Path) -> None:
    source = tmp_path / "yellow.jpg"
    Image.new("RGB", (100, 70), (250, 220, 60)).save(source)
    _generate(
        tmp_path, "--image", str(source), "--strength", "0.2", "-o", str(tmp_path / "out.png")
    )
    with Image.open(tmp_path / "out.png") as made:
        assert made.size == (96, 64)
        red, green, blue = ImageStat.Stat(made).mean
    assert min(red, green) > blue + 60
    text = read_text((tmp_path / "out.png").read_bytes())
    assert text["strength"] == "0.2"
    assert text["image_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()


def test_the_same_words_give_the_same_bytes(tmp_path: Path) -> None:
    files = [tmp_path / "one.png", tmp_path / "two.png"]
    for file in files:
        _generate(tmp_path, "--lora", "pixel:0.9", "--steps", "2", "-o", str(file))
    one, two = (hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    assert one == two


def test_a_checker_withholds_a_picture_here_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = """
from lorajobs.moderation import Flag

class Second:
    def __init__(self, settings):
        pass
    def check(self, images):
        return [Flag(index == 1, "it is the second") for index, _ in enumerate(images)]
"""
    installed(tmp_path, monkeypatch, source, {"lorajobs.image_checkers": {"second": "Second"}})
    monkeypatch.setenv("LORAJOBS_IMAGE_CHECKER", "second")
    said = _generate(tmp_path, "-o", "kept.png", "--num-images", "2", "--steps", "1")
    assert "saved kept.png  seed 7" in said
    assert [file.name for file in tmp_path.glob("*.png")] == ["kept.png"]
