from pathlib import Path

from tests.unit.conftest import Run


def test_generate_takes_a_file_of_this_folder_by_its_bare_name(run: Run) -> None:
    Path("lora.bin").write_bytes(b"pickled")
    words = ("generate", "a heart", "--model", "demo", "--lora", "lora.bin")
    result = run(*words, LORAJOBS_DATA_DIR="data")
    assert result.exit_code == 1
    assert "Pickled weights are refused" in result.stderr


def test_generate_takes_an_id_before_a_file_of_its_name(run: Run) -> None:
    Path("pixel").write_bytes(b"")
    words = ("generate", "a heart", "--model", "demo", "--lora", "pixel", "--lora", "pixl")
    result = run(*words, LORAJOBS_DATA_DIR="data")
    assert result.exit_code == 1
    assert "/loras/1/id" in result.stderr
