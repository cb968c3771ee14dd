"""A package with checkers, installed in a folder of its own as pip would."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

NAME = "lorajobs_checkers_of_a_test"


def installed(
    site: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    entry_points: Mapping[str, Mapping[str, str]],
) -> str:
    """Puts a module and its metadata where imports look; returns the module's name.

    `entry_points` are by group and name the attributes of the module.
    """
    info = site / f"{NAME}-1.0.dist-info"
    info.mkdir(parents=True)
    (site / f"{NAME}.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0\n")
    lines = []
    for group, entries in entry_points.items():
        lines += [f"[{group}]", *(f"{name} = {NAME}:{what}" for name, what in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    monkeypatch.syspath_prepend(site)
    return NAME
