"""The disk and the packages, as the doctor sees them."""

import shutil
from pathlib import Path

from packaging.requirements import Requirement

from lorajobs.doctor.finding import State
from lorajobs.doctor.machine import disk, needed, unfit
from lorajobs.settings import Settings


def test_a_budget_that_the_disk_cannot_hold(tmp_path: Path) -> None:
    much = shutil.disk_usage(tmp_path).free / 1e9 + 1000
    (found,) = disk(Settings(data_dir=tmp_path / "not" / "yet", disk_cache_gb=much))
    assert found.state is State.WARNING
    assert str(tmp_path) in found.text
    assert "LORAJOBS_DISK_CACHE_GB=" in found.way_out
    (fine,) = disk(Settings(data_dir=tmp_path, disk_cache_gb=0))
    assert fine.state is State.OK
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_missing_too_old_or_right() -> None:
    assert "is not installed" in unfit(Requirement("no-such-package-of-ours>=1"))
    assert "it needs >=1000" in unfit(Requirement("pydantic>=1000"))
    assert unfit(Requirement("pydantic>=2")) == ""


def test_an_extra_counts_only_for_who_has_it() -> None:
    mine = [
        Requirement("click>=8"),
        Requirement('no-such-package-of-ours>=1; extra == "worker"'),
        Requirement('flower>=2; extra == "flower"'),
        Requirement('old-backport>=1; python_version < "3"'),
    ]
    assert [n.name for n in needed(mine, [])] == ["click"]
    assert [n.name for n in needed(mine, ["worker"])] == ["click", "no-such-package-of-ours"]
