"""`lorajobs.toml` as a whole; what requests make of it is tested with the plan."""

from pathlib import Path

import pytest

from lorajobs.catalog import Catalog
from lorajobs.errors import ConfigError


def test_the_first_base_is_the_default(tmp_path: Path) -> None:
    file = tmp_path / "lorajobs.toml"
    file.write_text('[models.zebra]\nrepo = "o/z"\n[models.ant]\nrepo = "o/a"\n')
    assert Catalog.load(file).default.id == "zebra"


def test_a_file_without_a_base_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "lorajobs.toml"
    file.write_text("[models]\n")
    with pytest.raises(ConfigError, match="give at least one base model"):
        Catalog.load(file)
