"""What the documents say is what the code does."""

import re
from pathlib import Path

from lorajobs.catalog import Catalog
from lorajobs.commands.settings import with_table
from lorajobs.jobs import TRANSITIONS, JobStatus
from lorajobs.settings import Settings

ROOT = Path(__file__).parents[2]


def test_the_drawn_states_are_the_table() -> None:
    text = (ROOT / "docs" / "states.svg").read_text()
    drawn = set(re.findall(r'<path id="(\w+)-(\w+)"', text))
    allowed = {(str(a), str(b)) for a, targets in TRANSITIONS.items() for b in targets}
    assert drawn == allowed | {("new", "queued")}
    states = set(re.findall(r"<text [^>]+>(\w+)</text>", text)) & set(JobStatus)
    assert states == set(JobStatus)


def test_every_drawn_change_has_its_script_and_tests_that_exist() -> None:
    text = (ROOT / "docs" / "job-states.md").read_text()
    rows = re.findall(r"^\| (\w+) → (\w+) \| `(\w+\.lua)` \| (.+) \|$", text, re.MULTILINE)
    edges = {(str(a), str(b)) for a, targets in TRANSITIONS.items() for b in targets}
    assert {(before, after) for before, after, _, _ in rows} == edges | {("new", "queued")}
    writes = re.compile(r"\b(terminate|put_back)\(|'status', '(queued|running)'")
    scripts = (ROOT / "lorajobs" / "lua").glob("*.lua")
    writers = {path.name for path in scripts if writes.search(path.read_text())}
    assert {script for _, _, script, _ in rows} == writers - {"keys.lua"}
    for *_, tests in rows:
        for name in tests.split(", "):
            path, test = name.strip("`").split("::")
            assert f"def {test}(" in (ROOT / path).read_text(), name


def test_every_complaint_has_tests_that_exist() -> None:
    text = (ROOT / "docs" / "complaints.md").read_text()
    rows = re.findall(r"^\| .+ \| .+ \| (.+) \|$", text, re.MULTILINE)[1:]
    # Those of the studied services' users.
    assert len(rows) == 23
    for tests in rows:
        for name in tests.split(", "):
            path, test = name.strip("`").split("::")
            assert f"def {test}(" in (ROOT / path).read_text(), name


def test_the_documented_settings_are_the_present_ones() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    assert with_table(text) == text, "run `make docs`"
    ours = [row for row in Settings.table() if row.variable.startswith("LORAJOBS_")]
    assert text.count("| `LORAJOBS_") == len(ours) > 40


def test_the_readme_is_short_and_names_files_that_exist() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 200
    for name in re.findall(r"`((?:lorajobs|web|docs|docker|tests)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name
    for link in re.findall(r"\]\(((?!http)[^)#]+)", text):
        assert (ROOT / link).exists(), link


def test_the_architecture_names_files_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    names = re.findall(r"`((?:lorajobs|web|docs|docker|tests)/[\w./-]+)`", text)
    assert len(names) > 10
    for name in names:
        assert (ROOT / name).exists(), name


def test_the_example_configuration_is_valid_and_shows_the_seeds() -> None:
    catalog = Catalog.load(ROOT / "lorajobs.example.toml")
    sdxl = catalog.models["sdxl"]
    assert sdxl.variant == "fp16"
    assert sdxl.vae
    assert sdxl.vae.repo == "madebyollin/sdxl-vae-fp16-fix"
    assert {lora.source for lora in catalog.loras.values()} == {
        "hf:nerijs/pixel-art-xl",
        "hf:minimaxir/sdxl-wrong-lora",
    }
    assert set(sdxl.preload) <= set(catalog.loras)
    assert any(m.repo and "3.5-medium" in m.repo for m in catalog.models.values())
