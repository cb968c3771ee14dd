"""Bases in folders that are whole, cut, or not there."""

import json
import shutil
import struct
from pathlib import Path

import pytest

from lorajobs.catalog import DEMO
from lorajobs.doctor.adapters import adapters
from lorajobs.doctor.bases import bases
from lorajobs.doctor.finding import Finding, State
from lorajobs.settings import Settings

TEXT = "text_encoder/model.safetensors"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The demo's base, whose files may be spoiled."""
    (tmp_path / "lorajobs.toml").write_text('[models.mine]\npath = "base"\n')
    return Path(shutil.copytree(DEMO.parent / "base", tmp_path / "base"))


def looked(base: Path) -> Finding:
    _, found = bases(Settings(config=base.parent / "lorajobs.toml"))
    return found


def test_a_whole_one(base: Path) -> None:
    found = looked(base)
    assert found.state is State.OK
    assert "mine: 0.03 GB of F16, loaded as auto" in found.text


def test_one_whose_weights_were_cut(base: Path) -> None:
    file = base / TEXT
    file.write_bytes(file.read_bytes()[:-100])
    found = looked(base)
    assert found.state is State.WRONG
    assert "text_encoder: model.safetensors" in found.text
    assert "models.mine.path" in found.way_out


def test_one_whose_weights_are_missing(base: Path) -> None:
    (base / TEXT).unlink()
    assert "text_encoder: it has no weights" in looked(base).text


def test_one_without_a_component(base: Path) -> None:
    shutil.rmtree(base / "scheduler")
    assert "scheduler: the folder is missing or empty" in looked(base).text


def test_one_in_parts_of_which_some_are_missing(base: Path) -> None:
    folder = base / "text_encoder"
    (folder / "model.safetensors").rename(folder / "model-00001-of-00003.safetensors")
    names = {number: f"model-{number:05}-of-00003.safetensors" for number in (1, 2, 3)}
    index = {"weight_map": {f"w{number}": name for number, name in names.items()}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert f"{names[2]} and 1 more of its parts are missing" in looked(base).text


def test_a_folder_that_is_none(base: Path) -> None:
    shutil.rmtree(base)
    assert "model_index.json: No such file" in looked(base).text


def test_an_example_that_is_nowhere(tmp_path: Path) -> None:
    config = tmp_path / "with.toml"
    path = DEMO.parent / "base"
    config.write_text(f'[models.demo]\npath = "{path}"\nexample = "none.webp"\n')
    _, _, told = bases(Settings(config=config))
    assert told.state is State.WARNING
    assert str(tmp_path / "none.webp") in told.text


def adapter(folder: Path, data: bytes) -> Settings:
    (folder / "mine.safetensors").write_bytes(data)
    config = folder / "with.toml"
    base, source = DEMO.parent / "base", folder / "mine.safetensors"
    config.write_text(
        f'[models.demo]\npath = "{base}"\n[loras.mine]\nsource = "{source}"\nbase = "demo"\n'
    )
    return Settings(config=config, data_dir=folder / "data")


def test_an_adapter_that_fits_and_what_is_none(tmp_path: Path) -> None:
    whole = (DEMO.parent / "loras" / "pixel.safetensors").read_bytes()
    (good,) = adapters(adapter(tmp_path, whole))
    assert good.state is State.OK
    (cut,) = adapters(adapter(tmp_path, whole[:-100]))
    assert cut.state is State.WRONG
    assert "mine: lora_invalid_file" in cut.text
    (page,) = adapters(adapter(tmp_path, b"<html>Sign in</html>"))
    assert "web page" in page.text
    assert "lorajobs check" in page.way_out
    # Nothing was kept where workers keep it.
    assert not (tmp_path / "data").exists()


def test_an_adapter_of_another_family(tmp_path: Path) -> None:
    name = "transformer.single_transformer_blocks.0.attn.to_q"
    header = json.dumps(
        {
            f"{name}.lora_A.weight": {
                "dtype": "F16",
                "shape": [1, 3072],
                "data_offsets": [0, 6144],
            },
            f"{name}.lora_B.weight": {
                "dtype": "F16",
                "shape": [3072, 1],
                "data_offsets": [6144, 12288],
            },
        }
    ).encode()
    data = struct.pack("<Q", len(header)) + header + bytes(12288)
    (found,) = adapters(adapter(tmp_path, data))
    assert "lora_wrong_family" in found.text
