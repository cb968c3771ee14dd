import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from lorajobs.errors import ConfigError
from lorajobs.settings import Settings


def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAJOBS_API_PORT", "eighty")
    with pytest.raises(ConfigError, match=r"^LORAJOBS_API_PORT: .*integer"):
        Settings.from_env()


def test_a_misspelt_variable_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAJOBS_REDIS_ULR", "redis://elsewhere")
    with pytest.raises(ConfigError, match=r"LORAJOBS_REDIS_ULR.*did you mean LORAJOBS_REDIS_URL"):
        Settings.from_env()


def test_a_list_that_is_no_json_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAJOBS_LORA_ROOTS", "/loras")
    with pytest.raises(ConfigError, match="LORAJOBS_LORA_ROOTS: a list is written as JSON"):
        Settings.from_env()


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAJOBS_CONFIG", "")
    assert Settings.from_env().config is None


def test_a_child_reads_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAJOBS_DEVICE", "cuda")
    settings = Settings.from_env().model_copy(
        update={
            "device": None,
            "data_dir": Path("/some where"),
            "lora_roots": (Path("/a"), Path("/b,c")),
            "webhook_retry_s": (0.5, 7.0),
            "webhook_secret": SecretStr("whsec_x"),
            "hf_token": SecretStr("hf_x"),
            "hf_endpoint": "http://127.0.0.1:1",
            "allow_private_urls": True,
            "picture_metadata": False,
        }
    )
    environment = settings.environ()
    for name in ("LORAJOBS_DEVICE", "HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Settings.from_env() == settings


def test_a_child_in_another_folder_finds_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(config=Path("my.toml"), lora_roots=(Path("~/loras"), Path("here")))
    environment = settings.environ()
    assert environment["LORAJOBS_CONFIG"] == str(tmp_path / "my.toml")
    assert environment["LORAJOBS_DATA_DIR"] == str(Path.home() / ".lorajobs")
    assert json.loads(environment["LORAJOBS_LORA_ROOTS"]) == [
        str(Path.home() / "loras"),
        str(tmp_path / "here"),
    ]


def test_every_setting_is_described() -> None:
    assert all(row.description for row in Settings.table())
    assert ("LORAJOBS_API_PORT", "8000", "port the API listens on") in Settings.table()
    assert any(row.variable == "HF_TOKEN" for row in Settings.table())
