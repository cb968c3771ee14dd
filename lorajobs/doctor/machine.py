"""This machine: its disk and the packages that are installed."""

import importlib.metadata
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.requirements import Requirement

from lorajobs.adapters.census import sizes_in
from lorajobs.doctor.finding import Finding, ok, warning, wrong
from lorajobs.settings import Settings

#: Bytes that logs, Valkey and local pictures need beside the adapters.
SPARE = 2 * 10**9
#: Below this nothing works for long.
LEAST = 2 * 10**8


def disk(settings: Settings) -> Iterator[Finding]:
    """Whether the adapters of `LORAJOBS_DISK_CACHE_GB` have room."""
    folder = _existing(settings.data_dir.expanduser().absolute())
    free = shutil.disk_usage(folder).free
    told = f"{free / 1e9:,.1f} GB are free at {folder}"
    try:
        cached = sum(sizes_in(folder / "adapters").values())
    except FileNotFoundError:
        cached = 0
    needed = settings.disk_cache_gb * 1e9 - cached
    if free < LEAST:
        yield wrong(told, "free some, or put LORAJOBS_DATA_DIR elsewhere")
    elif free < needed:
        text = f"{told}, and adapters may take {needed / 1e9:,.1f} GB more"
        room = max(1.0, (free + cached - SPARE) / 1e9)
        yield warning(text, f"free some, or LORAJOBS_DISK_CACHE_GB={room:.0f}")
    elif free < SPARE:
        yield warning(told, "free some: logs, the queue and pictures grow too")
    else:
        yield ok(told)


def packages(settings: Settings) -> Iterator[Finding]:
    """Whether what is installed is what this version was made for."""
    try:
        declared = [Requirement(text) for text in importlib.metadata.requires("lorajobs") or ()]
    except importlib.metadata.PackageNotFoundError:
        yield warning("lorajobs runs from a folder and is not installed", "`pip install -e .`")
        return
    # Where PyTorch is, a worker is to run, and needs the rest too.
    extras = ["worker"] if any(map(_version, ("torch", "diffusers"))) else []
    mine = needed(declared, extras)
    bad = [text for requirement in mine if (text := unfit(requirement))]
    for text in bad:
        yield wrong(text, "`pip install --upgrade lorajobs`, or into a new virtual environment")
    if not bad:
        parts = "with the worker's" if extras else "without the worker's"
        yield ok(f"{len(mine)} packages, {parts}, are in the ranges that lorajobs needs")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there: it is made at the first start."""
    while not folder.exists():
        folder = folder.parent
    return folder


def needed(declared: Sequence[Requirement], extras: Sequence[str]) -> Sequence[Requirement]:
    """Those that count here, with these extras."""
    return [
        requirement
        for requirement in declared
        if requirement.marker is None
        or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras))
    ]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def unfit(requirement: Requirement) -> str:
    """Why what is installed does not do, empty if it does."""
    found = _version(requirement.name)
    if not found:
        return f"{requirement.name} is not installed; it needs {requirement.specifier or 'any'}"
    if not requirement.specifier.contains(found, prereleases=True):
        return f"{requirement.name} {found} is installed; it needs {requirement.specifier}"
    return ""
